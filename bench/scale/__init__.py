"""A million runs: what ingest, draw, nightly and the questions cost at size. `python -m bench.scale --help`."""
