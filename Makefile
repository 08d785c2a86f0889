# Every target makes the virtual environment it needs; only Python 3.11+, git and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-uvloop test-uvloop-part fuzz-http simulate lint types package check surface reference bench bench-usage profile growth clean

help:
	@echo "make demo     watch usage events become durable debits, a kill -9, and the proof (ARGS='--data FILE')"
	@echo "make test     run the tests (ARGS='-k name' to choose)"
	@echo "make test-uvloop  run them all on uvloop, as solvent serve runs; make test-uvloop-part: a part of them"
	@echo "make fuzz-http  a hundred made-up requests for each operation over HTTP"
	@echo "make simulate the engine under simulated time, disk and network (ARGS='--minutes 30', '--seeds 1000')"
	@echo "make lint     ruff: format and rules"
	@echo "make types    mypy --strict and pyright"
	@echo "make package  build the wheel, and use it as its users do on the oldest and the newest Python here"
	@echo "make check    all of the above but the demo: what CI runs"
	@echo "make surface  record the public names and signatures of solvent, after a change that is meant"
	@echo "make reference  docs/reference.md from the table of operations"
	@echo "make bench    Solvent beside its peers, with figures and marks"
	@echo "make profile  where a debit's time goes, layer by layer, and what memory and disk it takes"
	@echo "make growth   start-up and debits against the journal's size and the number of pools; stalls"
	@echo "make bench-usage  10 million events of usage, with figures"
	@echo "make clean    remove what the other targets made"

# A stamp per set of requirements: a changed pyproject.toml installs again, nothing else does.
$(VENV)/.base:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Solvent needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[http,server,speed]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,speed,test]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,speed,lint]'
	@touch $@

demo: $(VENV)/.run
	$(BIN)/solvent demo $(ARGS)

# More than four at once disturb each other's clocks.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

test-uvloop: $(VENV)/.test
	$(BIN)/python -m pytest --uvloop --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

fuzz-http: $(VENV)/.test
	SOLVENT_HTTP_EXAMPLES=100 $(BIN)/python -m pytest tests/http/test_fuzz.py $(ARGS)

# What waits, writes and talks over sockets: the rest of the tests does not know which loop runs it.
UVLOOP_PART := tests/test_loop.py tests/pools tests/journal/test_contract.py tests/credits/test_holds.py \
	tests/nats/test_client.py tests/nats/test_reconnect.py tests/engine/test_block.py
test-uvloop-part: $(VENV)/.test
	$(BIN)/python -m pytest --uvloop --numprocesses auto --maxprocesses 4 --dist worksteal $(UVLOOP_PART)

simulate: $(VENV)/.test
	$(BIN)/python -m tests.simulation $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.lint
	$(BIN)/mypy
	$(BIN)/pyright

package: $(VENV)/.lint
	$(BIN)/python -m tests.packaging.check

surface: $(VENV)/.run
	$(BIN)/python -m tests.packaging.surface > tests/packaging/surface.txt

check: lint types package test test-uvloop-part

reference: $(VENV)/.run
	$(BIN)/python -m solvent.transports.wire.reference > docs/reference.md

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

profile: $(VENV)/.bench
	$(BIN)/python -m bench.profile $(ARGS)

growth: $(VENV)/.bench
	$(BIN)/python -m bench.growth $(ARGS)

bench-usage: $(VENV)/.run
	$(BIN)/python -m bench.usage $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
