# On a fresh Debian 12 with Python 3.11 or newer: `make mount` mounts the default store, `make test` runs all tests.
# What is missing of system packages is installed with apt, through sudo unless root calls.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
COMPARABLE := $(VENV)/.comparable

# Tests mostly wait, for servers and mounts. A file's tests stay together: they share what is costly to make.
TEST_PROCESSES ?= 4

# A long run; SOAK_OPTIONS may have --write-back or --seed=N.
SOAK_MINUTES ?= 10
SOAK_STORE ?= s3
SOAK_OPTIONS ?=

# See `python -m benchmarks --help`: --peers, --workloads, --latency, --runs, --scale and others.
BENCH_OPTIONS ?= --json benchmarks/results.json --report benchmarks/RESULTS.md

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get

# What is imported is compiled once, not by each of the thousand processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help mount unmount test soak table bench lint clean run-packages build-packages test-packages bench-packages packages

help: ## show this help (the default)
	@echo 'Targets (choose the interpreter with PYTHON=python3.12):'
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

mount: run-packages $(INSTALLED) ## install what is missing, then mount the active store
	@$(BIN)/mountd mount --if-needed

unmount: ## unmount all stores, after their pending writes
	@if [ -x $(BIN)/mountd ]; then $(BIN)/mountd unmount --all; fi

lint: $(TESTABLE) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: run-packages test-packages lint ## install what tests need, servers included; lint, then run all tests
	$(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --dist=loadfile --junitxml=$(VENV)/report.xml

soak: run-packages test-packages $(TESTABLE) ## work, kill and break things for SOAK_MINUTES (10) on SOAK_STORE (s3)
	$(BIN)/python -m tests.soak --minutes=$(SOAK_MINUTES) --store=$(SOAK_STORE) $(SOAK_OPTIONS)

table: ## after `make test`: how the suites did on each kind of store
	@$(BIN)/python -m tests.table $(VENV)/report.xml

bench: run-packages test-packages bench-packages $(COMPARABLE) ## mountd beside rclone, s3fs, JuiceFS (BENCH_OPTIONS)
	$(BIN)/python -m benchmarks $(BENCH_OPTIONS)

clean: ## remove the virtual environment, caches and builds (unmount first)
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mountd tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps inside the environment: they go away with it.
$(INSTALLED): pyproject.toml | build-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'mountd needs Python 3.11 or newer; name one with PYTHON=...' >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # dependency groups came with 25.1
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q mountd  # not at each start, where Python may not write beside the sources
	@touch $@

$(TESTABLE): pyproject.toml $(INSTALLED)
	# Beside npm, which brings a server of Azure's API. Most of these modules are never imported: who does compiles them.
	# Together with mountd: boto3 and s3fs have to agree on botocore.
	npm install --silent --no-fund --no-audit --prefix $(VENV)/npm azurite & \
		$(BIN)/python -m pip install --quiet --no-compile --editable . --group test && wait $$!
	@touch $@

$(COMPARABLE): pyproject.toml $(TESTABLE)
	$(BIN)/python -m pip install --quiet --editable . --group test --group bench
	@touch $@

# Asked for by what they bring, not by package name: a Python of one's own or another distribution will do.
run-packages:
	@command -v fusermount3 >/dev/null || $(MAKE) --no-print-directory packages PACKAGES=fuse3

# Programs that tests run, and npm for a server that comes from there.
test-packages:
	@missing=; \
	for program in npm getfattr:attr rsync zip unzip git sqlite3 chromium; do \
		command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; \
	done; \
	[ -z "$$missing" ] || $(MAKE) --no-print-directory packages PACKAGES="$$missing"

bench-packages:
	@command -v s3fs >/dev/null || $(MAKE) --no-print-directory packages PACKAGES=s3fs

# An order-only prerequisite runs each time, so it looks first whether anything is to be built at all.
build-packages:
	@if [ -e $(INSTALLED) ] && $(BIN)/python -c 'import pyfuse3' 2>/dev/null; then exit 0; fi; \
	missing=; \
	command -v pkg-config >/dev/null || missing="$$missing pkg-config"; \
	pkg-config --exists fuse3 2>/dev/null || missing="$$missing libfuse3-dev"; \
	echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing="$$missing gcc libc6-dev"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null \
		|| missing="$$missing python3-dev"; \
	[ -z "$$missing" ] || $(MAKE) --no-print-directory packages PACKAGES="$$missing"

# `apt-get update` only when the lists do not know a package, or know one that the mirror no longer has.
packages:
	@command -v apt-get >/dev/null || { echo 'please install (names as on Debian): $(PACKAGES)' >&2; exit 1; }
	@[ -z "$(SUDO)" ] || command -v sudo >/dev/null \
		|| { echo 'no sudo here; as root: apt-get install $(PACKAGES)' >&2; exit 1; }
	@echo 'Installing system packages: $(PACKAGES)'
	@apt-cache show $(PACKAGES) >/dev/null 2>&1 || $(APT) -qq update
	@$(APT) -qq install -y --no-install-recommends $(PACKAGES) \
		|| { $(APT) -qq update && $(APT) -qq install -y --no-install-recommends $(PACKAGES); }
