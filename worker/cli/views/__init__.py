"""Screens: tables, panels, charts."""
