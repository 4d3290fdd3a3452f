"""Pages and tables that people read: what `s2m report` writes."""
