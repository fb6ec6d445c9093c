"""The weekly review, gathered."""
