# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SOURCES := benchmarks configs data models trainers scripts soaks tests train.py

.PHONY: help install quickstart app tutorials test soak lint format clean

help:
	@echo "make quickstart  install into $(VENV), make the built-in data, pretrain on it, report"
	@echo "make test        install into $(VENV), lint, check types, run all tests"
	@echo "make app         the local web page: make app ARGS='--predictor CHECKPOINT --atlas ATLAS'"
	@echo "make tutorials   run the notebooks of docs/tutorials"
	@echo "make soak        provoke the faults of docs/reliability.md for an hour or two, and write soak.md"
	@echo "make lint        ruff and mypy only"
	@echo "make format      let ruff rewrite the sources"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/python scripts/quickstart.py

app: install
	$(BIN)/python scripts/app.py $(ARGS)

tutorials: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_tutorials.py

lint: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

soak: install
	OMP_NUM_THREADS=1 $(BIN)/python scripts/soak.py all --out soak.md

format: install
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf $(VENV) *.egg-info quickstart
