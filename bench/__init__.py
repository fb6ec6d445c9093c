"""Tools that measure Spotcheck, and start the servers that tests and benchmarks need."""
