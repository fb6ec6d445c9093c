"""Where runs come from: one source a file, outside form to records."""
