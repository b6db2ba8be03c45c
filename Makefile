# tokenmill: `make demo` and `make test` work on a machine with only Python 3.11+ and a network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built

.PHONY: help demo test chaos controls check bench mutants clean lock .venv

help:
	@echo "make demo    run the whole path on embedded parts, from events to invoices"
	@echo "make test    run the tests"
	@echo "make chaos   whole demos, end to end: twice, interrupted, with traces, in other currencies"
	@echo "make controls  run the faults again with their protections off: each breach must be noticed"
	@echo "make check   lint and type-check"
	@echo "make bench   measure produce, rate and store beside a plain Faust agent, and rating alone beside a plain loop"
	@echo "make mutants change the money modules one expression at a time: do the tests notice? (goes on where it ended)"
	@echo "make lock    resolve the dependencies anew into requirements.lock"
	@echo "make clean   remove .venv and .tokenmill"

.venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "tokenmill needs Python 3.11, 3.12 or 3.13, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# Compiles the hot path once, so that the first worker does not have to.
	$(BIN)/python -m streams.warm_up
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/tokenmill demo

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: $(STAMP)
	TOKENMILL_REQUIRE_KAFKA=1 $(BIN)/python -m pytest -m chaos

controls: $(STAMP)
	TOKENMILL_REQUIRE_KAFKA=1 $(BIN)/python -m pytest -m control

mutants: $(STAMP)
	$(BIN)/python -m tests.mutation

bench: $(STAMP)
	$(BIN)/python -m bench.run
	$(BIN)/python -m bench.rating

lock:
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--no-emit-find-links --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .tokenmill build *.egg-info .mypy_cache .ruff_cache
