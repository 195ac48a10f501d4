# The two commands that matter: `make demo` and `make test`. `make help` lists the rest.
# Only a Python (3.11 to 3.14) has to be there: everything else is installed, pinned, into .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python on the PATH that the pins speak for and that can make virtual environments.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --log .venv/install.log

# Of what pip says, what one wants to see; all of it is in .venv/install.log.
LARGE_DOWNLOADS_AND_ERRORS := awk '/Downloading .*[0-9][0-9]\.[0-9] [MG]B/ { print "  " $$1, $$2, $$3, $$4; fflush() } /ERROR|error:/'

help: ## list what can be made
	@grep -E '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z.-]+):.*## (.*)/  make \1 ~ \2/' | column -t -s '~'

.venv: $(READY) ## install skipweave and its pinned packages into .venv (again only when the pins or the C sources change)

$(READY): constraints.txt pyproject.toml hatch_build.py $(wildcard src/skipweave/ops/cpu/csrc/*.[ch])
	@[ -n "$(PYTHON)" ] || { echo "make needs a Python from 3.11 to 3.14 with its venv module, and found none on the PATH."; \
		echo "Found: $$(python3 --version 2>&1). Install one (Debian and Ubuntu: apt install python3 python3-venv),"; \
		echo "or name one: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) and installing the pinned packages of constraints.txt into it."
	@echo "This happens once. PyTorch is large: about 3 GB to download, 6 GB on disk; a few minutes on a fast line."
	@$(PYTHON) -m venv .venv
	@set -o pipefail; $(PIP) install --require-hashes -r constraints.txt 2>&1 | $(LARGE_DOWNLOADS_AND_ERRORS)
	@set -o pipefail; $(PIP) install --no-deps --no-build-isolation -e . 2>&1 | $(LARGE_DOWNLOADS_AND_ERRORS)
	@touch $(READY)
	@echo "Installed. To use it by hand: source .venv/bin/activate"

demo: $(READY) ## train five small networks on handwritten digits and compare them in a report
	@echo "Training five small networks that differ only in what their layers read, on handwritten digits (two seeds each)."
	@echo "About 3 minutes on 2 cores; the results go to runs/study_digits. Interrupt it at will: 'make demo' goes on where it stopped."
	@$(BIN)/skipweave study

test: $(READY) lint type ## check style and types, run the quick tests
	@echo "Running the quick tests ('make test-all' runs the slow ones too)."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"
	@echo "All is well: style, types and quick tests pass."

test-all: $(READY) lint type ## check style and types, run every test
	@echo "Running every test, the slow ones too."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS)
	@echo "All is well: style, types and all tests pass."

MINUTES ?= 5
soak: $(READY) ## train with kills, stops, full disks and damaged files mixed for MINUTES=5 minutes
	@echo "Harming runs for $(MINUTES) minutes; each must end with the weights of an undisturbed one."
	@OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --minutes $(MINUTES)

lint: $(READY) ## check the style
	@echo "Checking the style with ruff ('make format' mends what it can)."
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }

format: $(READY) ## lay out the code and mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

type: $(READY) ## check the types of src
	@echo "Checking the types of src with mypy."
	@$(BIN)/mypy --no-error-summary

lock: $(READY) ## write constraints.txt anew, with the newest versions that pyproject.toml allows
	@echo "Resolving the newest versions for every system and Python that skipweave supports, into constraints.txt."
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra export --upgrade --quiet --custom-compile-command "make lock" \
		--universal --python-version 3.11 --generate-hashes --output-file constraints.txt
	@echo "Done. Run 'make test-all' before you commit it."

audit: $(READY) ## look the pinned versions up in PyPI's list of known vulnerabilities (needs the network)
	@echo "Looking up the packages of constraints.txt with pip-audit, which is fetched for it."
	@$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --require-hashes --disable-pip -r constraints.txt

clean: ## remove .venv and what tools leave behind (runs/ stays: it may hold trained networks)
	@echo "Removing .venv, build and dist, and the tools' caches. runs/ is left alone."
	@rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help .venv demo test test-all soak lint format type lock audit clean
