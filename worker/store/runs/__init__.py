"""Runs, the nights and draws they belong to, and their operational figures."""
