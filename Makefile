# make build   the sample corpus, end to end, into ./biomed-enriched
# make test    the tests (fast ones); make test-slow the others; make check all that CI runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# installed again when what it was made from changes
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: build test test-slow lint types check clean

build: $(STAMP)
	$(BIN)/biomed-builder build

test: $(DEV_STAMP)
	$(BIN)/pytest

test-slow: $(DEV_STAMP)
	$(BIN)/pytest -m slow

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP)
	$(BIN)/mypy

check: lint types test test-slow

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf work biomed-enriched
