# Two commands do everything on a fresh machine: `make repro` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: repro test lint web
repro: $(BIN)/ready
	dvc repro

test: $(BIN)/ready lint
	python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

web: $(BIN)/ready
	streamlit run app/web.py

lint: $(BIN)/ready
	ruff check .
	ruff format --check .

$(BIN)/ready: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("want Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@
