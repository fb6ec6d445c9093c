"""The judge as a scorer: a run goes through a rubric to a judge, and comes back as outcomes."""
