"""The simulated judge."""
