"""Where messages go: one destination a file."""
