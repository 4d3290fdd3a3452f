"""Speech-to-music retrieval by emotion: the library. It never imports Ray; ``jobs/`` runs it on Ray."""
