"""Heuristics: one a file."""
