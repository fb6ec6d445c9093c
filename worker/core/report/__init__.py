"""The weekly review: its records, its sentences and its number formats."""
