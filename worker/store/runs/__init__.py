"""Runs with their texts, draws and samples, reference medians, and operational figures."""
