"""The demo: a made-up team, and the simulated judge that reads its runs."""
