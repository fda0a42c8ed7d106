# `make` lists the targets. Each sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
# One more than the two cores for which the tests are planned: some of them wait.
JOBS ?= 3
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

# A run of the tests is not to depend on what the machine's environment says.
export MOX_STRICT_PLUGINS := 1
# Without a GPU, TensorFlow says in ten lines that it found none.
export TF_CPP_MIN_LOG_LEVEL ?= 3
unexport MOX_DISABLE_PLUGINS PYTHONPATH PYTHONWARNINGS

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types imports wheels networks browser docs drill bench scaling check clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Set up .venv with all distributions and tools, pinned by constraints.txt

# Without isolation the builders come first: hatchling for ours, setuptools for what tensorflow-datasets needs as source only.
$(STAMP): pyproject.toml constraints.txt $(PLUGINS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "mox needs Python 3.10 to 3.13, which TensorFlow supports; $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=/path/to/python3.11"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt hatchling editables setuptools
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev,docs]' $(PLUGINS:%=--editable %)
	@touch $@

demo: $(STAMP) ## Train a small ResNet on real images, evaluate, predict, export
	@$(RUN) examples/demo.py

# A test that ends its process is tried once more; xdist would go on to do so, eight times.
test: $(STAMP) ## Run every test but the check of the wheels; ARGS="-k name" goes to pytest
	@$(RUN) -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder --max-worker-restart=1 $(ARGS)

lint: $(STAMP) ## Check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

types: $(STAMP) ## Check types
	@$(RUN) -m mypy

imports: $(STAMP) ## Check who may import whom
	@$(VENV)/bin/lint-imports

wheels: $(STAMP) ## Build all wheels to dist/ and try them in a clean environment
	@rm -rf dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . $(PLUGINS:%=./%)
	@$(RUN) -m pytest -m wheels tests/together $(ARGS)

networks: $(STAMP) ## Build and train every network, of which the tests take a sample
	@$(RUN) -m pytest -m networks plugins tests $(ARGS)

browser: $(STAMP) ## Look at the pages of mox report in Chromium, which is installed where it is missing
	@.ci/chromium
	@$(RUN) -m pytest -m browser plugins/mox_report/tests $(ARGS)
	@echo "Look at build/screenshots"

docs: $(STAMP) ## Build the site of the documents to build/site (with Python 3.11 or later)
	@$(RUN) -m sphinx --quiet --fail-on-warning --keep-going -c docs/site . build/site
	@echo "Open build/site/index.html"

drill: $(STAMP) ## Kill, damage and starve trainings 200 times, and look at what is lost (about half an hour)
	@rm -rf build/drill
	@$(RUN) tests/drill/drill.py build/drill $(ARGS)

bench: $(STAMP) ## Compare mox with Keras fit and a hand-written loop; time mox plugins
	@$(RUN) benchmarks/compare.py $(ARGS)
	@$(RUN) benchmarks/commands.py

scaling: $(STAMP) ## Check the formula of docs/scaling.md with workers on this machine
	@$(RUN) benchmarks/scaling.py

check: test lint types imports wheels browser ## All that CI does

clean: ## Remove what the other targets made, .venv included
	rm -rf $(VENV) build dist demo_run .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
