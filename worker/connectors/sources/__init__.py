"""Where runs come from: one source a file."""
