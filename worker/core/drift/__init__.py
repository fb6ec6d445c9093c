"""Drift: changes of a stream's level beyond chance, with a stated false-alarm rate."""
