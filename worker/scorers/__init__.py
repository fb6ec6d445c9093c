"""The scorers: heuristics and rubrics behind one protocol."""
