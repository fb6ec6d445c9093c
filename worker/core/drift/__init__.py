"""Change beyond chance, and how rare an alarm is; pure."""
