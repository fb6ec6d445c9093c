"""The weekly review as records and sentences; pure."""
