# What a developer, CI and the reader of README.md run. Needs Python 3.11 or later and a network on
# the first run; no root, no system package, nothing preinstalled.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-setup
AUDIO ?=
PYTEST_ARGUMENTS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: setup
setup: $(STAMP) ## the environment in .venv

# silero-vad declares torch; we read one graph out of its wheel and need none of that.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later found; name one: make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps silero-vad
	@touch $@

.PHONY: test
test: lint try-perf-analyzer try-speech-clients pytest ## everything that CI runs

# Its tests say why they are skipped where it can't be had (it needs a C compiler).
.PHONY: try-perf-analyzer
try-perf-analyzer:
	-@test -x .venv-perf/bin/perf_analyzer || $(MAKE) --no-print-directory perf-analyzer

# Its tests say why they are skipped where it can't be had.
.PHONY: try-speech-clients
try-speech-clients:
	-@test -e .venv-clients/.stamp-setup || $(MAKE) --no-print-directory speech-clients

.PHONY: lint
lint: setup ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: pytest
pytest: setup ## the tests, in two processes (in one with PYTEST_ARGUMENTS="-k name")
	$(BIN)/python -m $(if $(PYTEST_ARGUMENTS),pytest $(PYTEST_ARGUMENTS),tests.in_two)

.PHONY: quick
quick: setup ## the tests that take no time
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGUMENTS)

.PHONY: test-long
test-long: setup ## all tests, and all that can be long and random is (an hour or so)
	STREAMGATE_TEST_LONG=1 $(BIN)/python -m $(if $(PYTEST_ARGUMENTS),pytest $(PYTEST_ARGUMENTS),tests.in_two)

.PHONY: test-faults
test-faults: setup ## kills, freezes, cuts, rolls in full, with what was measured (half an hour)
	STREAMGATE_TEST_LONG=1 $(BIN)/python -m pytest -s tests/durable/faults $(PYTEST_ARGUMENTS)

.PHONY: soak
soak: setup ## mixed traffic under random faults (make soak SECONDS=3600 SEED=7)
	$(BIN)/python -m tests.durable.faults.soak --seconds $(or $(SECONDS),3600) $(if $(SEED),--seed $(SEED))

.PHONY: format
format: setup ## bring the sources into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: protos
protos: ## generate streamgate/_proto from protos/, with an old protoc in a throw-away environment
	$(PYTHON) protos/generate.py

.PHONY: demo
demo: setup ## live audio through the gateway (AUDIO=my.wav takes your own)
	$(BIN)/python demos/run_demo.py $(if $(AUDIO),--audio "$(AUDIO)")

.PHONY: serve
serve: setup ## keep the demo's models served until Ctrl-C
	$(BIN)/python demos/run_demo.py --serve

.PHONY: conformance
conformance: setup ## our answers beside a real Triton's: live after `make triton-env` (some 6 minutes), else as recorded
	$(BIN)/python -m tests.conformance.differential --everything

.PHONY: bench
bench: setup .venv-perf/bin/perf_analyzer ## measure the gateway (after `make triton-env`: beside a real Triton)
	$(BIN)/python -m benchmarks

.PHONY: bench-durability
bench-durability: setup .venv-perf/bin/perf_analyzer ## what logs, snapshots and processes cost (4 minutes)
	$(BIN)/python -m benchmarks.durability

.PHONY: perf-analyzer
perf-analyzer: .venv-perf/bin/perf_analyzer ## Triton's own load generator, in .venv-perf

.venv-perf/bin/perf_analyzer: benchmarks/setup_perf_analyzer.sh benchmarks/triton-constraints.txt
	PYTHON="$(PYTHON)" benchmarks/setup_perf_analyzer.sh
	@touch $@

.PHONY: speech-clients
speech-clients: .venv-clients/.stamp-setup ## the clients of other speech services, in .venv-clients

.venv-clients/.stamp-setup: tests/clients/setup_speech_clients.sh tests/clients/constraints.txt
	PYTHON="$(PYTHON)" tests/clients/setup_speech_clients.sh
	@touch $@

.PHONY: triton-env
triton-env: .venv-triton/.stamp-setup ## a real Triton server to compare with, in .venv-triton

.venv-triton/.stamp-setup: benchmarks/setup_triton.sh benchmarks/triton-constraints.txt
	PYTHON="$(PYTHON)" benchmarks/setup_triton.sh
	@touch $@

.PHONY: clean
clean: ## remove environments, caches and builds
	rm -rf $(VENV) .venv-perf .venv-triton .venv-clients .venv-train build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
