# Each target sets up its own environment first, from pinned versions: make demo | check | test | fuzz | faults | confined | docs | bench
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready-docs
# Without --no-compile, pip compiles 17 000 modules on one core, of which a command imports a tenth and compiles them itself
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

# Compiled modules are kept, whatever the shell says: both workers of pytest and every command that a test starts use them
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo check test lint fast whole slow fuzz faults confined docs bench clean

demo: $(READY)  ## simulate, train, reconstruct, evaluate: two processes in under five minutes
	$(BIN)/physinv demo --out demo

check: $(READY)  ## static checks and the fast tests at the same time, in under two minutes
	@$(MAKE) --no-print-directory -j 2 lint fast

test: $(READY)  ## static checks and all tests with line coverage at the same time, in about fifteen minutes
	@$(MAKE) --no-print-directory -j 2 lint whole

fast: $(READY)
	$(BIN)/python -m pytest -n 2 -q -m "not slow"

whole: $(READY)
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=95

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(READY)  ## run all tests and write the list of slow ones: `make check` leaves them out, lines of long ones are not counted
	$(BIN)/python -m pytest -n 2 -q --write-slow

fuzz: $(READY)  ## 3000 hostile files and command lines, then 1000 flips of single bits: half an hour on two cores
	$(BIN)/python -m tests.fuzz --count 3000 --flips 1000 --jobs 2

faults: $(READY)  ## 300 failing file-system calls, then 20 kills of each command
	$(BIN)/python -m tests.faults --faults 300 --kills 20 --jobs 2

# Root writes where nobody may, unless its capabilities are taken away
CONFINED := $(if $(filter 0,$(shell id -u)),setpriv --bounding-set=-all --inh-caps=-all)

confined: $(READY)  ## all tests with 64 file handles in a clone that cannot be written to, without coverage
	@clone=$$(mktemp -d) && git clone -q . $$clone/physinv && chmod -R a-w $$clone/physinv && cd $$clone/physinv && \
	ulimit -n 64 && PYTHONPATH=$$clone/physinv $(CONFINED) $(CURDIR)/$(BIN)/python -m pytest -n $(or $(JOBS),2) -q -p no:cacheprovider; \
	code=$$?; chmod -R u+w $$clone; rm -rf $$clone; exit $$code

docs: $(READY_DOCS)  ## the documentation, into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

BENCHMARKS := heat heat_edges heat_partial navier_partial quadratic calibration ornstein_uhlenbeck objectives ablation speed/time_to_accuracy \
	systems gallery nonlinear sharp_priors reversals speed/generation speed/fft_share speed/wrapping speed/verifying trajectory_flips

COMPARED := heat quadratic double-well particles burgers navier-stokes

bench: $(READY)  ## all figures of README and documentation, which takes hours; then write them into both
	for name in $(COMPARED); do $(BIN)/physinv benchmark $$name || exit 1; done
	cd benchmarks && for name in $(BENCHMARKS); do ../$(BIN)/python $$name.py || exit 1; done
	$(BIN)/python benchmarks/readme_table.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[dev]"
	touch $@

$(READY_DOCS): $(READY)
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist docs/_build .coverage .mypy_cache .pytest_cache .ruff_cache
