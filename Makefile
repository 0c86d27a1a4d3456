# The commands of the README. Everything happens in .venv; PYTHON names the interpreter it is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all check bench clean

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("fastreg needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.base: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	touch $@ $(VENV)/.base

$(VENV)/.dev: $(VENV)/.test
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/.base $(VENV)/.test

demo: $(VENV)/.base
	$(BIN)/fastreg demo --output demo

# a process for each core, a file of tests at a time; without the sweeps that are marked slow
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile
test: $(VENV)/.test
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: $(VENV)/.test
	$(PYTEST) $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p fastreg
	$(BIN)/python -m pytest --doctest-modules fastreg tests/test_docs.py

bench: $(VENV)/.test
	$(BIN)/python -m pytest bench --benchmark-only $(ARGS)
	$(BIN)/python -m bench.solve && $(BIN)/python -m bench.report

clean:
	rm -rf $(VENV) demo build dist *.egg-info
