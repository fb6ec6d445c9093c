"""Pure functions: sampling, statistics, drift, rubrics and the report. No I/O, no clock, no database."""
