# make demo   run the whole loop on flight data     make demo ARGS="--json report.json"
# make test   the tests                             make test ARGS="-k windows"
# make check  format, lint, types, imports, tests   (what CI runs)
# make bench  the benchmarks                        make bench ARGS="list"
# make fuzz   the decoders, with atheris            make fuzz RUNS=1000000 ARGS="events labels"
# make contract  schemathesis against a real api    make contract CASES=20000
# make clean  remove what the other targets made

PYTHON ?= python3
ARGS ?=
# How many processes share the tests out, a file at a time.
WORKERS ?= 2
RUNS ?= 100000
CASES ?= 500
export PYTHON

.PHONY: demo test check lint bench fuzz contract clean

demo:
	@requirements/install.sh demo
	@.venv/bin/tidemill demo $(ARGS)

test:
	@requirements/install.sh dev
	@.venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

check: lint test

lint:
	@requirements/install.sh dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench:
	@requirements/install.sh dev
	@.venv/bin/python -m bench $(ARGS)

fuzz:
	@requirements/fuzz.sh
	@.venv-fuzz/bin/python tests/fuzz/fuzz.py --runs $(RUNS) $(or $(ARGS),all)

contract:
	@requirements/install.sh dev
	@requirements/fuzz.sh
	@.venv/bin/python tests/fuzz/contract.py --cases $(CASES) $(ARGS)

clean:
	rm -rf .venv .venv-fuzz .fuzz .tidemill .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
