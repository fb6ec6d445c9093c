"""Other systems: where runs come from, where results go."""
