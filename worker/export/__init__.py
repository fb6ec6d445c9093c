"""Destinations: one file each, outside form from records."""
