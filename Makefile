# All commands work on a fresh machine with Python 3.11 or newer. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXIT ?=

# The demo keeps all it makes in .demo; delete the folder to begin anew.
DEMO_DIR ?= .demo

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz faults check bench docs release audit lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/run.stamp ## draw a sample catalogue, search it by a photo, leave the page up (EXIT=1: stop after the search)
	@env -u DATABASE_URL SEESAME_DATA_DIR="$(DEMO_DIR)" SEESAME_CACHE_DIR="$(DEMO_DIR)/cache" \
		$(BIN)/seesame demo $(if $(EXIT),--exit)

test: $(VENV)/dev.stamp ## run the tests; what needs more than this machine has is skipped and named
	@$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/dev.stamp ## send the API 50,000 requests made up from its description, good and bad ones (twenty minutes)
	@SEESAME_TEST_FUZZ_CASES=50000 $(BIN)/python -m pytest tests/acceptance/test_fuzz.py $(ARGS)

faults: $(VENV)/dev.stamp ## kill, stop and overload the processes again and again, and print what came of it (twenty minutes)
	@SEESAME_TEST_FAULTS=long $(BIN)/python -m pytest tests/faults $(ARGS)

check: $(VENV)/dev.stamp ## lint, format, types, import contracts, and the files of the containers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=clients/python/src $(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose*.yml deploy/compose.*.yml

bench: $(VENV)/dev.stamp ## measure, and print a table (PHOTOS=folder with photos.csv for the figures on real photos)
	@SEESAME_BENCH_PHOTOS="$(PHOTOS)" $(BIN)/python -m bench $(ARGS)

docs: $(VENV)/dev.stamp ## build the documentation into site/; links that lead nowhere fail
	@$(BIN)/zensical build --clean --strict

release: $(VENV)/dev.stamp docs ## build what is released into dist/: packages, documentation, bill of materials, digests
	@rm -rf dist
	@$(BIN)/hatchling build -d dist
	@cd clients/python && $(abspath $(BIN))/hatchling build -d $(abspath dist)
	@sed "s/^dynamic = .*/version = \"$$($(BIN)/hatchling version)\"/" pyproject.toml | $(BIN)/cyclonedx-py requirements \
		requirements/run.txt --pyproject /dev/stdin --output-reproducible -o dist/seesame.cdx.json
	@tar -czf dist/seesame-docs.tar.gz -C site .
	@cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS

audit: $(VENV)/dev.stamp ## ask a service on the internet whether pinned packages have known vulnerabilities
	@$(BIN)/uv tool run pip-audit --require-hashes --disable-pip -r requirements/run.txt

lock: $(VENV)/dev.stamp ## pin all dependencies anew
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -q -U \
		-o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header -q -U \
		-c requirements/run.txt -o requirements/dev.txt

clean: ## delete the environment, what the demo made, and what was built
	rm -rf $(VENV) $(DEMO_DIR) .cache dist site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "Installing the development tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
