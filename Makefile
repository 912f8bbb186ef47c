# fedgenome: `make` lists what can be made. Needs Debian or Ubuntu with Python 3.11–3.13, venv and make.
PYTHON ?= python3
VENV ?= .venv
# Another package index that holds torch for your device (CUDA, ROCm, CPU only); see README.
TORCH_INDEX ?=
# What `make bench` runs.
BENCH ?= $(subst /,.,$(basename $(wildcard experiments/benchmarks/[a-z]*.py)))

# The demonstration in containers: what is run, over how many hospitals, with which options (--resume), a compose file to
# lay over ours, and what docker build is told besides.
EXPERIMENT ?= experiments/quickstart.toml
SITES ?= 5
RUN_OPTIONS ?=
OVERRIDE ?=
DOCKER_BUILD_FLAGS ?=
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
PROJECT ?= fedgenome

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

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ROLES := coordinator party relay agent
TLS := .deployment/tls
COMPOSE_FILE := $(if $(filter 5,$(SITES)),docker-compose.yml,.deployment/docker-compose-$(SITES).yml)
FEDERATION = EXPERIMENT_FILE='$(abspath $(EXPERIMENT))' TLS='$(abspath $(TLS))' TORCH_INDEX='$(TORCH_INDEX)' \
  $(COMPOSE) -p $(PROJECT) --project-directory . -f $(COMPOSE_FILE) $(if $(OVERRIDE),-f $(OVERRIDE))
# $(call image,folder,role)
image = docker build $(DOCKER_BUILD_FLAGS) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) \
  -f $(1)/Dockerfile --target $(2) -t fedgenome-$(2):$(VERSION) .

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-ray test-faults test-oracle test-superlink test-deployment lint format bench images up down airlock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## make .venv and install fedgenome into it

demo: setup ## run experiments/quickstart.toml: real cells, five sites, three parties, a release and a report
	$(BIN)/fedgenome run experiments/quickstart.toml

test: lint ## install what the tests need; style, types, layers, doctests, tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-ray: $(VENV)/.test ## the same apps under Flower's Ray engine: same seed, same release
	$(BIN)/python -m pytest -m ray $(RAY_LEAVES)

test-faults: $(VENV)/.test ## kill and stop sites, parties and coordinator by 200 schedules drawn from a seed
	$(BIN)/python -m pytest -m faults tests

test-oracle: $(VENV)/.oracle ## the auditor's bounds on ε against those of jax_privacy, on a grid
	$(BIN)/python -m pytest tests/audit/bounds/test_oracle.py

test-superlink: $(VENV)/.test ## Flower's SuperLink and SuperNodes on loopback: signed bundles, runs interrupted and resumed
	$(BIN)/python -m pytest -m deployment tests/deployment_roles

test-deployment: $(VENV)/.test images ## the containers: images, walls, runs, faults; needs Docker; RECORD=--record keeps figures
	$(BIN)/python -m pytest -m deployment tests/deployment $(RECORD)

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

images: ## build the four images: agent, relay, party, coordinator
	$(call image,server,coordinator)
	$(call image,server,party)
	$(call image,sites,relay)
	$(call image,sites,agent)

up: images $(TLS)/server.key $(COMPOSE_FILE) ## run EXPERIMENT over SITES hospitals, every role a container; results in runs/
	$(FEDERATION) up -d --no-build
	$(FEDERATION) run --rm --no-deps -T coordinator $(RUN_OPTIONS); code=$$?; mkdir -p runs; \
	  $(FEDERATION) run --rm --no-deps -T --entrypoint tar coordinator -C /runs -c . | tar -C runs -x && exit $$code

down: ## remove the demonstration's containers, networks and volumes, keys and ledgers with them (same SITES)
	$(FEDERATION) --profile run down -v --remove-orphans

airlock: images ## the images as files with SHA-256 digests, for machines without a network: dist/airlock
	mkdir -p dist/airlock
	for role in $(ROLES); do \
	  docker save fedgenome-$$role:$(VERSION) | gzip -1 > dist/airlock/fedgenome-$$role-$(VERSION).tar.gz || exit 1; done
	cp docker-compose.yml dist/airlock/
	cd dist/airlock && sha256sum *.tar.gz docker-compose.yml > SHA256SUMS && cat SHA256SUMS

clean: ## remove .venv, caches and built packages; runs stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist ./*.egg-info ./*.fab
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The SuperLink's key and certificate, made by nobody but this machine; the container reads the key as another user.
$(TLS)/server.key: | images
	mkdir -p -m 700 .deployment
	docker run --rm --network none --read-only --user $$(id -u):$$(id -g) -v '$(abspath .deployment):/made' \
	  fedgenome-coordinator:$(VERSION) keys certificates /made/tls --host superlink --host localhost --host 127.0.0.1
	chmod 644 $@

.deployment/docker-compose-%.yml: fedgenome/deployment/compose.py | images
	mkdir -p -m 700 .deployment
	docker run --rm --network none --read-only fedgenome-coordinator:$(VERSION) compose --sites $* > $@.new
	mv $@.new $@

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

$(VENV)/.oracle: $(VENV)/.test
	@echo 'Installing the oracle of the bounds into $(VENV)'
	$(PIP) install --quiet -c constraints.txt -e '.[test,oracle]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@echo 'Installing the rivals of the benchmarks into $(VENV)'
	$(PIP) install --quiet -c constraints.txt -e '.[test,bench]'
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	@echo 'Installing the test tools into $(VENV)'
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $@
