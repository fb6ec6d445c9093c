"""Rubric files, pure: front matter, template sandbox, rendering, lint."""
