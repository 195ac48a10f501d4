# `make demo` and `make test` are the main targets; `make help` lists all.
# They need Python 3.11 to 3.14; everything else is installed, pinned, into .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first supported Python on the PATH with the venv module.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --log .venv/install.log

# Large downloads and errors of pip; the whole output is in .venv/install.log.
LARGE_DOWNLOADS_AND_ERRORS := awk '/Downloading .*[0-9][0-9]\.[0-9] [MG]B/ { print "  " $$1, $$2, $$3, $$4; fflush() } /ERROR|error:/'

help: ## list the targets
	@grep -E '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z.-]+):.*## (.*)/  make \1 ~ \2/' | column -t -s '~'

.venv: $(READY) ## install skipweave and its pinned packages into .venv (repeated only if the pins or the C sources change)

$(READY): constraints.txt pyproject.toml hatch_build.py $(wildcard src/skipweave/ops/cpu/csrc/*.[ch])
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 to 3.14 with the venv module on the PATH."; \
		echo "Found: $$(python3 --version 2>&1). Install one (Debian and Ubuntu: apt install python3 python3-venv),"; \
		echo "or set one: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version) and installing the pinned packages of constraints.txt."
	@echo "This happens once: about 3 GB to download (4 minutes at 100 Mbit/s, 25 at 16 Mbit/s), 6 GB on disk."
	@$(PYTHON) -m venv .venv
	@set -o pipefail; $(PIP) install --require-hashes -r constraints.txt 2>&1 | $(LARGE_DOWNLOADS_AND_ERRORS)
	@set -o pipefail; $(PIP) install --no-deps --no-build-isolation -e . 2>&1 | $(LARGE_DOWNLOADS_AND_ERRORS)
	@touch $(READY)
	@echo "Installed. To activate it: source .venv/bin/activate"

demo: $(READY) ## train five deep networks on handwritten digits and compare their errors and costs in a report
	@echo "Training five networks of 40 layers with different topologies on handwritten digits (three seeds each)."
	@echo "About 3 minutes on 2 cores; results are saved in runs/study_digits. An interrupted demo resumes with 'make demo'."
	@$(BIN)/skipweave study

DATA ?= data
RECIPE ?= fast_cifar10
SEEDS ?= 0
fast: $(READY) ## train a network on CIFAR-10 in minutes, with the images in DATA=data (downloaded if they are not there), from SEEDS=0
	@echo "Training by recipes/$(RECIPE).yaml from seeds $(SEEDS). fast_cifar10 takes about 20 minutes a seed on 2 fast cores with bfloat16 (Zen 5, AMX),"
	@echo "35 on slower ones (Zen 4), two hours on those without bfloat16. If interrupted, the same command resumes it."
	@$(BIN)/skipweave study --config recipes/$(RECIPE).yaml --data.root $(DATA) --data.download true --seeds $(SEEDS) --tta flip_shift \
		--processes 1 --timing_repeats 0 --output runs/$(RECIPE)

test: $(READY) lint type ## check style and types, run the quick tests
	@echo "Running the quick tests ('make test-all' includes the slow ones)."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"
	@echo "Style, types and quick tests pass."

test-all: $(READY) lint type ## check style and types, run every test
	@echo "Running all tests."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS)
	@echo "Style, types and all tests pass."

.venv/docs-ready: $(READY) docs/site/requirements.txt
	@echo "Installing Sphinx and its pinned packages into .venv."
	@set -o pipefail; $(PIP) install --require-hashes -r docs/site/requirements.txt 2>&1 | $(LARGE_DOWNLOADS_AND_ERRORS)
	@touch $@

docs: .venv/docs-ready ## build the documentation site into build/site; a broken link or an undocumented name is an error
	@echo "Building the documentation site: a few minutes, most of them for the notebooks."
	@OMP_NUM_THREADS=1 $(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going -d build/doctrees -c docs/site . build/site
	@echo "Built: open build/site/index.html in a browser."

MINUTES ?= 5
soak: $(READY) ## inject kills, stops, full disks and damaged files into training for MINUTES=5 minutes
	@echo "Injecting faults for $(MINUTES) minutes; each run must end with the weights of an uninterrupted one."
	@OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --minutes $(MINUTES)

lint: $(READY) ## check the style
	@echo "Checking the style with ruff ('make format' fixes most errors)."
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }

format: $(READY) ## format the code and fix lint errors
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

type: $(READY) ## check the types of src
	@echo "Checking the types of src with mypy."
	@$(BIN)/mypy --no-error-summary

lock: $(READY) ## update constraints.txt to the newest versions that pyproject.toml allows
	@echo "Resolving the newest versions for every system and Python that skipweave supports, into constraints.txt and docs/site/requirements.txt."
	@$(BIN)/uv pip compile pyproject.toml --all-extras --upgrade --quiet --custom-compile-command "make lock" \
		--universal --python-version 3.11 --generate-hashes --output-file constraints.txt
	@$(BIN)/uv pip compile --group docs --upgrade --quiet --custom-compile-command "make lock" --constraint constraints.txt \
		--universal --python-version 3.11 --generate-hashes --output-file docs/site/requirements.txt
	@echo "Done. Run 'make test-all docs' before committing it."

audit: $(READY) ## look up the pinned versions in PyPI's list of known vulnerabilities (needs the network)
	@echo "Looking up the packages of constraints.txt with pip-audit, which uv downloads."
	@$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --require-hashes --disable-pip -r constraints.txt

clean: ## remove .venv, build and cache folders (not runs/, which may have trained networks)
	@echo "Removing .venv, build and dist, and the tools' caches. runs/ is kept."
	@rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help .venv demo fast docs test test-all soak lint format type lock audit clean
