"""The wire forms of a question: one backend a file."""
