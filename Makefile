# make demo | make test | make bench: each sets up its own environment first, from pinned versions.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench clean

demo: $(READY)  ## simulate, train, reconstruct, evaluate: two processes in under five minutes
	$(BIN)/physinv demo --out demo

test: lint  ## static checks, then all tests with line coverage
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

BENCHMARKS := heat heat_edges heat_partial navier_partial quadratic calibration ornstein_uhlenbeck objectives ablation speed/time_to_accuracy \
	systems gallery nonlinear reversals speed/generation speed/fft_share speed/wrapping

COMPARED := heat quadratic double-well particles burgers navier-stokes

bench: $(READY)  ## the figures of the README, which takes hours; then write them into it
	for name in $(COMPARED); do $(BIN)/physinv benchmark $$name || exit 1; done
	cd benchmarks && for name in $(BENCHMARKS); do ../$(BIN)/python $$name.py || exit 1; done
	$(BIN)/python benchmarks/readme_table.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist .coverage .mypy_cache .pytest_cache .ruff_cache
