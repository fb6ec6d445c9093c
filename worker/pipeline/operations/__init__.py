"""Alarms over all ended runs, judged or not."""
