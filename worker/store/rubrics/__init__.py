"""The texts of rubrics, which of them is active, and what nights are drawn with."""
