# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint check bench test-duckdb2 catalogue format clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Installed again only when what is to be installed changes; a broken or half-made environment is made anew.
$(VENV)/.installed: pyproject.toml
	@rm -f $@
	@$(BIN)/python -c "" 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) || { \
		echo "error: $(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }; }
	@echo "installing LearnGuard into $(VENV) (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## invent logs of three platforms, ingest, run, and leave a report in demo/
	@rm -rf demo
	@$(BIN)/learnguard demo --out demo

test: $(VENV)/.installed-dev ## lint, type check and test
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev ## lint and type check only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.installed-dev ## format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

catalogue: $(VENV)/.installed ## write docs/detectors.zh.md and docs/detectors.en.md from the packs
	@$(BIN)/learnguard detectors catalogue --lang zh --out docs/detectors.zh.md
	@$(BIN)/learnguard detectors catalogue --lang en --out docs/detectors.en.md

bench: $(VENV)/.installed ## ten million heartbeats: scan, sorted copy, ingest, run, report, with peak memory
	@$(BIN)/python -m learnguard.simulate.measure --out bench-out

test-duckdb2: ## the tests on DuckDB 2.0, in an environment of its own
	@$(PYTHON) -m venv .venv-duckdb2
	@.venv-duckdb2/bin/python -m pip install --quiet --editable '.[dev]'
	@.venv-duckdb2/bin/python -m pip install --quiet 'duckdb>=2.0,<2.1'
	@.venv-duckdb2/bin/python -m pytest -p no:cacheprovider

clean: ## remove what make made
	@rm -rf $(VENV) .venv-duckdb2 demo bench-out .mypy_cache .ruff_cache .pytest_cache
