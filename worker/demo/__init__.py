"""The demo: made-up runs of a team, a simulated judge, and the replay of both through the product."""
