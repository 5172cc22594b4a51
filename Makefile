# make demo    a cluster of two nodes with real containers, and the README's Deployment on it
# make test    everything that CI checks
# make help    the rest

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-clean test check unit e2e chaos scale replay streams fuzz bench proto lock audit images images-services clients compose-up compose-down clean

PYTHON := .venv/bin/python
ORCH   := .venv/bin/orch
# Containers need root. What runs as root through sudo leaves its kubeconfig to whoever called it.
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=ORCH_OFFLINE)
IMAGES := .orch-images
CLIENTS := .orch-clients
COMPOSE = cd deploy/compose && $(if $(shell docker compose version 2>/dev/null),docker compose,../../.venv/bin/docker-compose)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: system packages, .venv, Kubernetes' schema
	@tools/setup.sh

demo: setup ## Start a cluster of two Podman nodes and run examples/deployment.yaml on it (`PORT=7443` for another port)
	@$(SUDO) env PORT=$(PORT) tools/demo.sh up

demo-clean: ## Remove every trace of the demo: containers, namespaces, state, images
	@$(SUDO) tools/demo.sh clean

test: check images-services clients ## Run all checks and all tests (`make test ARGS="-k name"` passes on to pytest)
	@$(SUDO) tools/tests.sh $(ARGS)

check: setup ## Lint (bandit's rules included), check formats, types, layers, generated code and what is locked
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/pyright
	@.venv/bin/lint-imports
	@$(PYTHON) tools/proto.py --check
	@$(PYTHON) tools/locked.py

unit: setup ## Run the tests that need no other process
	@$(PYTHON) -m pytest --numprocesses auto --dist worksteal tests/unit $(ARGS)

e2e: setup images clients ## Run the tests of whole clusters
	@$(SUDO) $(PYTHON) -m pytest tests/e2e $(ARGS)

chaos: setup images ## Kill services and stores again and again, for an hour (`make chaos ARGS="--rounds 3"` for less)
	@$(SUDO) $(PYTHON) -m pytest tests/chaos --rounds 50 $(ARGS)

scale: setup ## Run 2,000 pods on 1,000 simulated nodes (`make scale ARGS="--fleet 5000 --pods 20000"` for more)
	@$(SUDO) $(PYTHON) -m pytest tests/scale --fleet 1000 --pods 2000 $(ARGS)

replay: setup ## Compute a million recorded decisions of the scheduler again (`DECISIONS=10000000` for more)
	@ORCH_REPLAY_DECISIONS=$(or $(DECISIONS),1000000) $(PYTHON) -m pytest tests/unit/scheduler/replay --timeout 3600 $(ARGS)

fuzz: setup ## Send each operation of the API 100 odd requests (`make fuzz ARGS="--examples 1000"` for more)
	@$(PYTHON) -m pytest tests/contract/api -k openapi --timeout 3600 --examples 100 $(ARGS)

streams: setup ## Send a GiB through commands and forwarded ports, over WebSocket and over SPDY (`MIB=4096` for more)
	@$(SUDO) env ORCH_STREAM_MIB=$(or $(MIB),1024) $(PYTHON) -m pytest tests/e2e/test_streams_with_simulated_nodes.py -k much_at_once $(ARGS)

bench: setup ## Measure, and print the figures as a table
	@$(SUDO) $(PYTHON) -m benchmarks $(ARGS)

proto: setup ## Generate lib/orch_pb from proto/
	@$(PYTHON) tools/proto.py

lock: setup ## Bring requirements.lock up to pyproject.toml (`make lock ARGS=--upgrade` renews all)
	@tools/lock.sh $(ARGS)

audit: setup ## Ask whether what is locked has known vulnerabilities (needs a network, and pip-audit)
	@test -x .venv/bin/pip-audit || { echo "audit: pip-audit is needed: .venv/bin/pip install pip-audit" >&2; exit 1; }
	@.venv/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip $(ARGS)

images: setup ## Where Docker Hub cannot be reached, build the images of demo and tests from packages
	@$(SUDO) tools/images/prepare.sh $(IMAGES)

clients: setup ## Fetch the clients that tests drive: Helm, and Debian's older kubectl
	@$(PYTHON) tools/clients.py --store $(CLIENTS)

images-services: images ## Build the images of deploy/compose where no registry can be reached, for its test
	@$(SUDO) $(PYTHON) tools/images/services.py --store $(IMAGES)

compose-up: ## Start the cluster of containers in deploy/compose on Docker (or what DOCKER_HOST names)
	@$(COMPOSE) up --build --detach --wait

compose-down: ## Remove that cluster with all that it stored
	@$(COMPOSE) --profile observability --profile tools down --volumes

clean: demo-clean ## Remove the virtual environment and all caches as well
	@rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
