"""Estimates with intervals; agreement; pure."""
