"""What lies on disk: whole-or-nothing writing, MRC files, tables, STAR files, progress."""
