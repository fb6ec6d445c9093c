"""Records as documents: HTML, Markdown, JSON, charts, metrics text."""
