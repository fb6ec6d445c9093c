"""The made-up team and its runs."""
