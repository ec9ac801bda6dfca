# From a fresh machine: `make run` for a notebook, `make test` for the whole suite. Both install what is missing first.

AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
PYTHON := .venv/bin/python

.PHONY: help run stop test soak lint bench lock config
help:
	@echo 'make run    set up, start nbd in this terminal and a notebook for you; Ctrl-C leaves the notebook running'
	@echo 'make stop   end everything that run started'
	@echo 'make test   set up and run the tests; ARGS="tests/rules -k name" for some of them'
	@echo 'make soak   the proofs of the homes, ten times as long (hours)'
	@echo 'make lint   style and types only'
	@echo 'make bench  measure against the floor and the peers'
	@echo 'make config write again what is generated from the tables of settings, profiles, states'
	@echo 'make lock   pin all Python packages again'

run:
	@packaging/dev/setup run
	@exec $(AS_ROOT) .venv/bin/nbd dev --start

stop:
	@exec $(AS_ROOT) .venv/bin/nbd dev --stop

test:
	@packaging/dev/setup test
	@exec $(AS_ROOT) $(PYTHON) -m pytest $(ARGS)

soak:
	@packaging/dev/setup test
	@exec $(AS_ROOT) env NBD_SOAK=10 $(PYTHON) -m pytest $(or $(ARGS),tests/homes tests/system/test_sync_*.py)

lint:
	@packaging/dev/setup test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

bench:
	@packaging/dev/setup bench
	$(AS_ROOT) $(PYTHON) -m tests.bench.start
	$(AS_ROOT) $(PYTHON) -m tests.bench.api
	$(AS_ROOT) $(PYTHON) -m tests.bench.proxy
	$(AS_ROOT) $(PYTHON) -m tests.bench.saved
	$(AS_ROOT) $(PYTHON) -m tests.bench.homes
	$(AS_ROOT) $(PYTHON) -m tests.bench.freeze
	$(AS_ROOT) $(PYTHON) -m tests.bench.idle

config:
	$(PYTHON) packaging/dev/reference.py

lock:
	@packaging/dev/lock
