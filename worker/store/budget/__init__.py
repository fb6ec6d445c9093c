"""What judging may spend: accounts, reservations."""
