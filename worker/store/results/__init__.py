"""Scores and all that is made of them: cells, trends, findings, alerts, the outbox."""
