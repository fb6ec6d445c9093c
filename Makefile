# `make demo` runs the main job, `make test` passes the fast tests; both set everything up by themselves.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto
PYTEST := -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-rest test-all check lint types floors docs fix venv bench-statistics clean

help:  ## What there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Spotcheck needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	@touch .venv/ready

venv: .venv/ready  ## A virtual environment in .venv with everything

demo: .venv/ready  ## Eight made-up weeks through the real product: no key, no server
	$(BIN)/spotcheck demo

test: .venv/ready  ## The fast tests, about nine minutes on two cores; PostgreSQL and Redis come from wheels
	$(BIN)/python -m pytest -q $(PYTEST)

test-rest: .venv/ready  ## What `make test` leaves out: simulations, long fault stories, both stores everywhere
	$(BIN)/python -m pytest -q $(PYTEST) --rest

test-all: .venv/ready  ## Every test
	$(BIN)/python -m pytest -q $(PYTEST) --slow --long --both-stores

check: lint types floors test  ## What must hold before a push; CI adds `make test-rest`

bench-statistics: .venv/ready  ## The long simulations with fixed seeds; records their figures in bench/simulations.json
	$(BIN)/python -m bench.simulations

lint: .venv/ready  ## Format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready  ## mypy, strict
	$(BIN)/mypy

floors: .venv/ready  ## No lower floor imports an upper one
	$(BIN)/lint-imports

docs: .venv/ready  ## The README's commands, and that everything is documented
	$(BIN)/python -m pytest -q tests/docs

fix: .venv/ready  ## Format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what make and the tests left
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache spotcheck-demo
