"""Rubric files: front matter, template sandbox, rendering and lint."""
