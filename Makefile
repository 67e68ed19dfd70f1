# Everything that people and CI do. `make help` lists it.
# A fresh machine needs Python 3.11, make and a package registry: uv is fetched into .uv if it is not on PATH.

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Distributions build their Python with what the compiler learned from running it: all that is done here takes a quarter to a
# third less CPU time than with a plain build, such as pyenv's. UV_PYTHON=3.12 chooses another one.
ifndef UV_PYTHON
  DISTRIBUTIONS := $(shell /usr/bin/python3.11 -c 'import ctypes, lzma, sqlite3, ssl, sys; print(sys.executable)' 2>/dev/null)
  ifneq ($(DISTRIBUTIONS),)
    export UV_PYTHON := $(DISTRIBUTIONS)
  endif
endif

BIN := .venv/bin
SLIM := .venv-slim
WHICH := -m 'not long'
QUICK := test_*process.py test_*fuzz.py test_rsgi.py test_schema.py cli/*

# Tests make and remove hundreds of thousands of small files: where memory has room for them, a quarter of the time less.
MEMORY := $(shell grep -qE ' /dev/shm tmpfs ([^ ]*,)?noexec' /proc/mounts 2>/dev/null || \
  df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 6000000 {print "/dev/shm"}')
test-slim test-keras test-system test-browser test-quick: export TMPDIR := $(or $(MEMORY),$(TMPDIR))

# Where Python may not keep bytecode, each process that a test starts would compile the project anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install up test test-slim test-keras test-system test-browser test-long test-quick fuzz check-kubernetes test-containers check check-types check-rest format bench bench-accuracy sbom docs clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

install: .venv/.installed ## Install everything into .venv

.venv/.installed: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --extra local --group foreign --compile-bytecode
	@touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv

$(SLIM)/.installed: pyproject.toml uv.lock deploy/gateway/copy_messages.py .venv/.installed
	UV_PROJECT_ENVIRONMENT=$(SLIM) $(UV) sync --frozen --extra gateway --group kubernetes --compile-bytecode
	$(BIN)/python deploy/gateway/copy_messages.py .venv $(SLIM)
	@touch $@

up: install ## Start the whole system here, train what is missing, serve until Ctrl-C (ARGS="--port 9000")
	@$(BIN)/modelyard up $(ARGS)

# Systems and the console wait much of their time, and the last has the shortest files: either core always has some work.
test: install $(SLIM)/.installed ## Run the tests, three of their four kinds at a time: what each change must pass
	@$(MAKE) --no-print-directory -k -j 3 test-system test-keras test-browser test-slim check-kubernetes

test-long: install $(SLIM)/.installed ## Run the tests that `make test` leaves out: before a release, and after a change of what they are about
	@$(MAKE) --no-print-directory -j 2 WHICH="-m long" test-system test-keras test-slim

# They wait for processes, too, hence three.
test-slim: $(SLIM)/.installed ## Run the slim side's tests where TensorFlow is not installed
	$(SLIM)/bin/pytest -n 3 --dist loadfile -p no:cacheprovider $(WHICH) tests/slim

test-keras: install ## Run the tests that compute
	$(BIN)/pytest -n 2 --dist loadfile $(WHICH) tests/keras

# They wait much of their time, hence three.
test-system: install ## Run the tests of whole systems
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(WHICH) tests/system

# One running system and one Chromium for all of them: a second system costs a minute of CPU time, and saves 20 s.
test-browser: install ## Run the tests of the console in Chromium (skipped where there is none)
	$(BIN)/pytest tests/browser

test-quick: $(SLIM)/.installed ## Run what needs neither TensorFlow nor processes, with few examples each: a minute
	$(SLIM)/bin/pytest -n 2 --dist loadfile -p no:cacheprovider --hypothesis-profile quick -k 'not postgresql' $(QUICK:%=--ignore-glob='*/%') tests/slim

fuzz: install $(SLIM)/.installed ## Run the tests with invented examples on many more of them than `make test`
	$(SLIM)/bin/pytest -n 2 -p no:cacheprovider -m hypothesis --hypothesis-profile fuzz tests/slim
	$(BIN)/pytest -n 2 -p no:cacheprovider -m hypothesis --hypothesis-profile fuzz tests/keras

# Its packages contradict ours, so it has an environment of its own.
.venv-checkov/.installed: deploy/kubernetes/checkov.txt | $(UV)
	$(UV) venv --quiet --clear --python $(or $(filter %3.11,$(UV_PYTHON)),3.11) .venv-checkov
	$(UV) pip install --quiet --python .venv-checkov --require-hashes -r deploy/kubernetes/checkov.txt
	@touch $@

check-kubernetes: $(SLIM)/.installed .venv-checkov/.installed ## Hold checkov's policies against every overlay of deploy/kubernetes
	@rendered=$$(mktemp -d) && trap 'rm -r "$$rendered"' EXIT && $(SLIM)/bin/python -m tests.support.kubernetes "$$rendered" && \
	  .venv-checkov/bin/checkov --config-file deploy/kubernetes/checkov.yaml -d "$$rendered"

test-containers: install ## Build the images, start the whole system on Podman or Docker, break it (CONTAINER_ENGINE=docker)
	$(UV) sync --frozen --extra local --group foreign --group containers --group kubernetes
	$(BIN)/pytest -s --timeout=2400 -p no:cacheprovider tests/containers $(ARGS)

check: install ## Lint, types, import rules, reference pages, links of the documentation
	@$(MAKE) --no-print-directory -k -j 2 --output-sync=target check-types check-rest

check-types: install
	$(BIN)/mypy

check-rest: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m modelyard.services.cli.reference docs --check
	$(BIN)/zensical build --clean --strict

format: install ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Compare our serving with its peers; writes docs/benchmarks.md (an hour; ARGS="--seconds 3")
	$(UV) sync --frozen --extra local --group foreign --group bench
	$(BIN)/python -m benchmarks.serving --write $(ARGS)

bench-accuracy: install ## Measure the models' accuracy, cost and latency; writes docs/models.md (hours)
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

sbom: install ## List what is in each image, as CycloneDX, into dist/sbom
	$(BIN)/python deploy/sbom.py dist/sbom --uv $(UV) --revision "$$(git rev-parse --short=12 HEAD 2>/dev/null)"

docs: install ## Write the reference pages of docs/ from the code, and all of docs/ as a site into site/
	$(BIN)/python -m modelyard.services.cli.reference docs
	$(BIN)/zensical build --clean --strict

clean: ## Remove environments and caches; trained models in .modelyard stay
	rm -rf .venv .venv-slim .venv-checkov .venv-clients .uv .bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
