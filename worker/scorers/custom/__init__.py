"""Scorers of a team's own: found by a setting or an entry point, wrapped so that their faults stay their own."""
