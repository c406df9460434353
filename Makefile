# A façade: each target sets up what it needs, then calls the program that does the work.
# PYTHON=… names the interpreter (3.11 or newer), ARGS=… goes to the program.

PYTHON ?= python3
ARGS ?=
STATE := $(abspath $(or $(PLATFORM_HOME),.platform))
BOOTSTRAP := $(PYTHON) infra/local/bootstrap.py
BIN := $(STATE)/venvs/platform/bin
SERVING_BIN := $(STATE)/venvs/serving/bin
# The page's tests drive one of these; Debian's own is installed where there is none.
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable chrome
FLINK_BIN := $(STATE)/venvs/flink-development/bin
# Measured, each service runs traced too, and the tests take half as long again. Last in its line:
# what follows --cov would be what it measures.
MEASURED := $(if $(COVERAGE),--cov)

# Nothing that a tool caches or remembers may land outside the checkout.
export XDG_CACHE_HOME := $(STATE)/cache
export XDG_CONFIG_HOME := $(STATE)/config
export XDG_DATA_HOME := $(STATE)/data
export MPLCONFIGDIR := $(STATE)/cache/matplotlib
export PRE_COMMIT_HOME := $(STATE)/cache/pre-commit
export HYPOTHESIS_STORAGE_DIRECTORY := $(STATE)/cache/hypothesis
export GX_ANALYTICS_ENABLED := false
export DAGSTER_DISABLE_TELEMETRY := yes

# Compiling every import again would double each start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs doctor test test-slow lint bench lock clean \
	platform-tests other-tests serving-tests flink-tests

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

demo: ## Run the batch graph on the Pima data, serve predictions and the Dagster UI (ARGS=--once)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes demo $(ARGS)

up: ## Start the whole platform in the background (SPARK=cluster: a master with two workers)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes up $(if $(SPARK),--spark $(SPARK)) $(ARGS)

down: ## Stop the whole platform; its data stay
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes down

status: ## Show each service of the running platform: URL, state, memory
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes status

logs: ## Show what a service printed (SERVICE=kafka, ARGS=--follow)
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes logs $(SERVICE) $(ARGS)

doctor: ## Try every service end to end
	@$(BOOTSTRAP) demo
	@$(BIN)/diabetes doctor

test: ## Run the tests of platform, API and Flink's jobs (ARGS=… goes to the platform's pytest, COVERAGE=1 measures it)
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install --development
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exit; done; \
		apt-get update && apt-get install --yes chromium
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target platform-tests other-tests
	@echo "Pictures of the page: .platform/test-artifacts"

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

test-slow: ## Run what takes minutes: services killed and restarted, engines compared row for row
	@$(BOOTSTRAP) test
	$(BIN)/diabetes install --development
	cd serving && $(SERVING_BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow $(ARGS)

lint: ## Check style, types and the direction of imports
	@$(BOOTSTRAP) test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy infra/local/bootstrap.py infra/local/jars/lock.py
	$(SERVING_BIN)/mypy --config-file serving/pyproject.toml -p serving.app -p serving.predictor
	$(BIN)/lint-imports
	$(BIN)/dg check defs

bench: ## Run the benchmarks; they print ratios and the machine
	@$(BOOTSTRAP) test
	$(BIN)/python -m benchmarks $(ARGS)

lock: ## Renew the lock files from the pyproject files
	@$(BOOTSTRAP) lock

clean: ## Remove all that was downloaded, built or written
	@$(BOOTSTRAP) clean
	rm -rf .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
