# Everything a checkout needs, from nothing but Python 3.11+ and make. `make` alone lists the targets.
#
#   ARGS=...      passed on, for example: make train ARGS="--iterations 10 --seed 1"
#   PYTHON=...    the interpreter to build the environment with; by default the first suitable one on PATH
#   VENV=...      where the environment lives
#   PROCESSES=... how many processes train together, a divisor of the number of groups

VENV ?= .venv
PROCESSES ?= 2
ARGS ?=
BIN := $(VENV)/bin
TRAIN := $(VENV)/.installed-train
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR: # an interrupted set-up starts again
.PHONY: help train test check bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' $(firstword $(MAKEFILE_LIST))

# Small matrices gain nothing from threads, so each core gets a process of its own.
train: $(TRAIN) ## Train the tiny policy with GiGPO on the built-in games
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node $(PROCESSES) \
	  -m agentgym train --config examples/alfworld.yaml $(ARGS)

test: $(DEV) ## Run the fast test suite
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

check: $(DEV) ## Lint, check types and check which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# benchmarks/alfworld_*.py compare with the original engine, which the extra alfworld brings.
bench: $(DEV) ## Measure credit and wrappers; writes benchmarks/results/
	$(BIN)/python benchmarks/credit_speed.py
	$(BIN)/python benchmarks/tempo_speed.py
	$(BIN)/python benchmarks/wrapper_overhead.py

docs: $(DEV) ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

clean: ## Remove the environment and what tools leave behind
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# dev holds everything train does.
$(DEV): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(TRAIN) $@

$(TRAIN): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[train]' -c constraints.txt
	@touch $@

# Asking for the modules that Debian splits off tells "no Python" from "Python without venv".
$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  found=$$python; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  echo "Making $(VENV) with $$("$$python" -V)"; \
	  exec "$$python" -m venv "$(VENV)"; \
	done; \
	if [ -n "$$found" ]; then \
	  echo "$$found is recent enough but has no venv module. On Debian or Ubuntu: sudo apt install python3-venv" >&2; \
	else \
	  echo "agentgym needs Python 3.11 or newer, and none of these is: $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)." >&2; \
	  echo "Get it from your package manager or python.org, then say which: make PYTHON=/path/to/python3.12 ..." >&2; \
	fi; exit 1
