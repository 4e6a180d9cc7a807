# Two commands do everything on a fresh machine: `make repro` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)
PYTEST := python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

.PHONY: repro test check quick lint web
repro: $(BIN)/ready
	dvc repro

test: $(BIN)/ready lint
	$(PYTEST)

# Side by side, as mypy uses one core.
check: $(BIN)/ready
	$(MAKE) --jobs 2 lint quick

quick: $(BIN)/ready
	$(PYTEST) -m "not slow"

web: $(BIN)/ready
	streamlit run app/web.py

lint: $(BIN)/ready
	ruff check .
	ruff format --check .
	git ls-files -z | xargs -0 codespell
	mypy

$(BIN)/ready: requirements.txt requirements-no-deps.txt
	$(PYTHON) -c 'import sys; sys.exit("want Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-no-deps.txt
	touch $@
