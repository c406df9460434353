# Each target sets up its environment and calls a program.
# PYTHON=… is the interpreter (3.11 or newer), ARGS=… are arguments of the program.

PYTHON ?= python3
ARGS ?=
STATE := $(abspath $(or $(PLATFORM_HOME),.platform))
BOOTSTRAP := $(PYTHON) infra/local/bootstrap.py
BIN := $(STATE)/venvs/platform/bin
SERVING_BIN := $(STATE)/venvs/serving/bin
# The page's tests need one of these. If none is installed, `make test` installs Debian's.
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable chrome
FLINK_BIN := $(STATE)/venvs/flink-development/bin
# COVERAGE=1 also traces every service, and the tests take 1.5 times as long. --cov must be the last
# option: an argument after it would be the package to measure.
MEASURED := $(if $(COVERAGE),--cov)

# The tools of the container tests are built once per machine, and not once per checkout.
export TOOLS_CACHE := $(or $(TOOLS_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/diabetes-platform)
CLUSTERS := $(BIN)/python -m diabetes_platform_tests.clusters
ENGINE_PACKAGES := docker.io iptables mmdebstrap runc slirp4netns tini
CLUSTER_PACKAGES := conntrack containerd containernetworking-plugins ebtables ipset nftables socat

# Caches and configuration of all other tools stay inside the checkout.
export XDG_CACHE_HOME := $(STATE)/cache
export XDG_CONFIG_HOME := $(STATE)/config
export XDG_DATA_HOME := $(STATE)/data
export MPLCONFIGDIR := $(STATE)/cache/matplotlib
export PRE_COMMIT_HOME := $(STATE)/cache/pre-commit
export HYPOTHESIS_STORAGE_DIRECTORY := $(STATE)/cache/hypothesis
export GX_ANALYTICS_ENABLED := false
export DAGSTER_DISABLE_TELEMETRY := yes

# Without bytecode files, every start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

# Installs Debian packages that are missing. Without systemd, their services do not start.
apt = dpkg --status $(1) >/dev/null 2>&1 || { apt-get update && RUNLEVEL=1 \
	apt-get install --yes --no-install-recommends $(1); }

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs doctor images test test-slow test-compose test-kubernetes lint bench lock clean \
	platform-tests other-tests serving-tests flink-tests

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

demo: ## Run the batch graph on the Pima data, serve predictions and the Dagster UI (ARGS=--once)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes demo $(ARGS)

up: ## Start the whole platform in the background (SPARK=cluster: a master with two workers)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes up $(if $(SPARK),--spark $(SPARK)) $(ARGS)

down: ## Stop the whole platform; its data stays
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes down

status: ## Show each service of the running platform: URL, state, memory
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes status

logs: ## Show the output of a service (SERVICE=kafka, ARGS=--follow)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes logs $(SERVICE) $(ARGS)

doctor: ## Test every service end to end
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes doctor

test: ## Run the tests of the platform, the API and the Flink jobs (ARGS=… for the platform's pytest, COVERAGE=1)
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install --development
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exit; done; \
		apt-get update && apt-get install --yes chromium
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target platform-tests other-tests
	@echo "Screenshots of the page: .platform/test-artifacts"

platform-tests:
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS) $(MEASURED)

other-tests:
	@$(MAKE) --no-print-directory serving-tests
	@$(MAKE) --no-print-directory flink-tests

serving-tests:
	cd serving && $(SERVING_BIN)/python -m pytest $(MEASURED)

flink-tests:
	$(FLINK_BIN)/mypy --config-file flink/pyproject.toml -p flink
	cd flink && $(FLINK_BIN)/python -m pytest $(MEASURED)

test-slow: ## Run the tests that take minutes: services killed and restarted, engines compared row by row
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install --development
	cd serving && $(SERVING_BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow $(ARGS)

images: ## Build the container images, check them, write their bills of material (ARGS=NAME…, --reproduce)
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install
	$(BIN)/python infra/images/build.py $(ARGS)

test-compose: ## Run the tests on a Docker engine of their own (root; installs Debian's docker.io)
	@$(call apt,$(ENGINE_PACKAGES))
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install
	@$(CLUSTERS) engine-tools
	$(BIN)/python -m pytest -m compose $(ARGS)

test-kubernetes: ## Run the tests on a Kubernetes cluster of their own (root; installs containerd)
	@$(call apt,$(ENGINE_PACKAGES) $(CLUSTER_PACKAGES))
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install
	@$(CLUSTERS) engine-tools
	@$(CLUSTERS) cluster-tools
	$(BIN)/python -m pytest -m kubernetes $(ARGS)

lint: ## Check style, types, the direction of imports and the Dagster definitions
	@$(BOOTSTRAP) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy infra/local/bootstrap.py infra/local/jars/lock.py infra/images/build.py infra/images/trust.py
	$(BIN)/mypy infra/testing/schemas.py
	$(BIN)/mypy -p diabetes_platform_tests.clusters
	$(SERVING_BIN)/mypy --config-file serving/pyproject.toml -p serving.app -p serving.predictor
	$(BIN)/lint-imports
	$(BIN)/dg check defs

bench: ## Run the benchmarks
	@$(BOOTSTRAP) test
	$(BIN)/python -m benchmarks $(ARGS)

lock: ## Renew the lock files from the pyproject files
	@$(BOOTSTRAP) lock

clean: ## Remove everything that was downloaded, built or written
	@$(BOOTSTRAP) clean
	rm -rf .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
