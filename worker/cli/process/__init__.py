"""Commands that stay: worker, beat, up; and health."""
