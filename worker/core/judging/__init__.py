"""What a judge is shown of a run, and how its reply becomes scores."""
