"""Spotcheck: a worker that scores a known-probability sample of AI-agent runs and watches the trend."""

__version__ = "0.1.0"
