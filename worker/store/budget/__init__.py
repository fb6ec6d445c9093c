"""What judging may spend: accounts by day and scorer, reservations, and cuts when a budget is spent."""
