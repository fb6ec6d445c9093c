"""Read models that commands, pages and metrics share; they write nothing."""
