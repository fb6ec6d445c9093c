"""The way of a run, one step a file."""
