"""The rubric judge as a scorer."""
