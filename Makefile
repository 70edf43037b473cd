# make demo   run the whole loop on flight data     make demo ARGS="--json report.json"
# make test   the tests                             make test ARGS="-k windows"
# make check  format, lint, types, imports, tests   (what CI runs)
# make bench  the benchmarks                        make bench ARGS="list"
# make clean  remove what the other targets made

PYTHON ?= python3
ARGS ?=
export PYTHON

.PHONY: demo test check lint bench clean

demo:
	@requirements/install.sh demo
	@.venv/bin/tidemill demo $(ARGS)

test:
	@requirements/install.sh dev
	@.venv/bin/python -m pytest $(ARGS)

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

clean:
	rm -rf .venv .tidemill .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
