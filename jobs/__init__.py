"""Jobs: how the work is spread. The only code that imports Ray."""
