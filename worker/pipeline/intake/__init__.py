"""Runs into the store."""
