# Two commands do everything on a fresh machine: `make repro` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)
PYTEST := python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

NPM := app/browser/node_modules/.package-lock.json

.PHONY: setup repro test check quick lint web browser
setup: $(BIN)/ready

repro: $(BIN)/ready
	dvc repro

test: $(BIN)/ready lint $(if $(shell command -v npm),$(NPM))
	$(PYTEST)

# Side by side, as mypy uses one core.
check: $(BIN)/ready
	$(MAKE) --jobs 2 lint quick

quick: $(BIN)/ready
	$(PYTEST) -m "not slow"

web: $(BIN)/ready
	streamlit run app/web.py

browser: $(BIN)/ready $(NPM)
	python -m app.build_browser --serve

lint: $(BIN)/ready
	ruff check .
	ruff format --check .
	git ls-files -z | xargs -0 codespell
	mypy

# Without these packages, tests that need them are skipped: a failure does not end `make test`.
$(NPM): app/browser/package-lock.json
	-npm ci --prefix app/browser --no-audit --no-fund

$(BIN)/ready: requirements.txt requirements-no-deps.txt
	$(PYTHON) -c 'import sys; sys.exit("want Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-no-deps.txt
	# Compiled once: processes that compile at the same time leave files that crash all later ones
	# (a fault of the cache of numba 0.68).
	$(BIN)/python -c 'import librosa.beat, librosa.core.pitch, librosa.util.utils'
	touch $@
