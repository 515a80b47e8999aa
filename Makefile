# `make try` and `make test` do everything on a fresh machine: set up, then run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: try test thorough check lint types lowest setup setup-dev clean

try: setup
	$(BIN)/triptych try examples/outline --budget quick --out triptych-out/outline

test: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not thorough"

# What takes longest: the judged controls, plans of memory, and further cases of long tests.
thorough: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m thorough

check: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not study and not thorough"

# The fast tests with the oldest version of every dependency that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(PYTHON) -c 'import tomllib; print(*(d.replace(">=", "==") for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]), sep="\n")' > .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/lowest.txt --editable . --group dev
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest -n 2 -m "not slow and not study and not thorough"

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/mypy

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit("triptych needs Python 3.11 or later: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest triptych-out build
