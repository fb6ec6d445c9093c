"""Tables of results: scores, and what is derived from them: cells, trends, findings, alerts, the outbox."""
