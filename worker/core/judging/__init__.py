"""What goes to a judge of a run, and what its reply means; pure."""
