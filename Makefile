# fedgenome: `make` lists what can be made. Needs Debian or Ubuntu with Python 3.11–3.13, venv and make.
PYTHON ?= python3
VENV ?= .venv
# Another package index that holds torch for your device (CUDA, ROCm, CPU only); see README.
TORCH_INDEX ?=
# What `make bench` runs.
BENCH ?= $(subst /,.,$(basename $(wildcard experiments/benchmarks/[a-z]*.py)))

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
TORCH := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Ray 2.55 leaves log files open and its daemons to themselves; in every other test that is an error.
RAY_LEAVES := -W 'ignore:unclosed file:ResourceWarning' -W 'ignore:subprocess:ResourceWarning'

# CrypTen depends on the retired name "sklearn", which refuses to install unless told otherwise.
export SKLEARN_ALLOW_DEPRECATED_SKLEARN_PACKAGE_INSTALL := True
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
# Two threads thrash when sites and parties share a few cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-ray test-faults lint format bench clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## make .venv and install fedgenome into it

demo: setup ## run experiments/quickstart.toml: real cells, five sites, three parties, a release and a report
	$(BIN)/fedgenome run experiments/quickstart.toml

test: lint ## install what the tests need; style, types, layers, doctests, tests
	$(BIN)/python -m pytest

test-ray: $(VENV)/.test ## the same apps under Flower's Ray engine: same seed, same release
	$(BIN)/python -m pytest -m ray $(RAY_LEAVES)

test-faults: $(VENV)/.test ## kill and stop sites, parties and coordinator by 200 schedules drawn from a seed
	$(BIN)/python -m pytest -m faults tests/faults

lint: $(VENV)/.test ## format, style, types and layers, without the tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test ## rewrite the code in its format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.bench ## measure speed: every module of experiments/benchmarks, their rivals installed
	@missed=0; for script in $(BENCH); do echo "== $$script"; $(BIN)/python -m "$$script" || missed=1; done; exit $$missed

clean: ## remove .venv, caches and built packages; runs stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist ./*.egg-info ./*.fab
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an installation is repeated only when the project's metadata or a pin has changed.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo 'fedgenome needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'Python has no venv here: apt install python3-venv' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.created
	@echo 'Installing fedgenome into $(VENV): some minutes the first time'
	$(if $(TORCH),$(PIP) install --quiet -c constraints.txt $(TORCH) torch)
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@echo 'Installing the rivals of the benchmarks into $(VENV)'
	$(PIP) install --quiet -c constraints.txt -e '.[test,bench]'
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	@echo 'Installing the test tools into $(VENV)'
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $@
