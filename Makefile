# Every target builds .venv when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo test test-all soak lint

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(INSTALLED) ## build .venv with the package and the tools of development

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name it by PYTHON=... ")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip 'setuptools>=77'
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## train on the embedded handwritten digits for three minutes, then show the scores
	$(BIN)/python src/train.py data=digits minutes=3

test: $(INSTALLED) ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: $(INSTALLED) ## all tests
	$(BIN)/python -m pytest -n 2

soak: $(INSTALLED) ## kill, damage and disturb runs for an hour (MINUTES=60) and count what is lost, see docs/reliability.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py run minutes=$(or $(MINUTES),60)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
