# The kit's commands. `make` alone lists them; all set-up is in tools/setup.sh.
#   PYTHON=python3.12   the interpreter for the virtual environment (default: the first one that fits)
#   ARGS='…'            more options: for demo and bench those of lab/run_lab.py, for test those of pytest

PYTHON ?=
ARGS ?=
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo bench test lint lock clean environment

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: ## set up what is missing, then run the round-robin scenario on whatever backend is here
	@sh tools/setup.sh demo
	@$(BIN)/python lab/run_lab.py scenarios/round_robin.yaml $(ARGS)

bench: ## set up what is missing, then measure engines and modes beside other balancers (some 20 minutes)
	@sh tools/setup.sh bench
	@$(BIN)/python lab/run_lab.py bench $(ARGS)

test: ## set up what is missing, then lint, types and every test that this machine can run
	@sh tools/setup.sh test
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest $(ARGS)

lint: environment ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: environment ## pin the newest versions of what requirements.in names
	@sh tools/setup.sh lock

clean: ## undo what demo and test have made here; Debian packages stay, and are named
	@sh tools/setup.sh clean

environment:
	@sh tools/setup.sh environment
