"""One reader per family of STAR files; which one is decided by the columns that are present."""
