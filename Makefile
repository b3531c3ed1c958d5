# Two commands on a fresh machine: `make serve` and `make test`. Everything lives in .venv; nothing is installed outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The locks are resolved for every Python we take, each package with its hash; rapidocr-onnxruntime says "below 3.13",
# though it is pure Python and reads just as well there.
LOCKED := --ignore-requires-python --require-hashes --no-deps
SOURCES := src tests bench examples scripts train

.PHONY: install serve tour test check sbom bench bench-fleet transformers train evaluate lock format docs verify-operations clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.local ## the environment with every embedded engine

serve: $(VENV)/.local ## models, then the server on 127.0.0.1:8001
	@$(BIN)/pointsman serve

tour: $(VENV)/.dev ## everything a running server can do, with the openai package
	@$(BIN)/python examples/tour.py

test: $(VENV)/.dev ## checks, then every test, real engines included
	@$(BIN)/python scripts/check.py
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.dev ## format, lint, types, layers, dependencies
	@$(BIN)/python scripts/check.py

sbom: $(VENV)/.dev ## the bill of materials, CycloneDX, in build/sbom.cdx.json
	@$(BIN)/python scripts/sbom.py

bench: $(VENV)/.dev ## CPU per request beside a bare pass-through
	@$(BIN)/python -m bench.overhead

bench-fleet: $(VENV)/.dev ## load, wake, switch, unload and memory of every engine here, written to docs/performance.md
	@$(BIN)/python -m bench.fleet.engines

transformers: $(VENV)/.transformers ## what `backend: transformers` needs, for CPUs; `make test` then tests it too

verify-operations: $(VENV)/.dev ## a real Prometheus beside a gateway under load: rules, and every panel of the dashboards
	@$(BIN)/python -m scripts.verify_operations

train: $(VENV)/.dev ## the classifier's weights anew, from train/corpus and the public data in DATA=FOLDER
	@$(BIN)/python -m train.language --data $(DATA)
	@$(BIN)/python -m train.heads --data $(DATA)
	@$(BIN)/python -m train.encoder_head --data $(DATA)

evaluate: $(VENV)/.dev ## measure everything beside its controls and write docs/evaluation.md; DATA=FOLDER
	@$(BIN)/python -m train.evaluate --data $(DATA)

format: $(VENV)/.dev ## rewrite the sources in the one format
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

docs: $(VENV)/.dev ## regenerate docs/configuration.md, docs/openapi.json and docs/pointsman.schema.json
	@$(BIN)/python scripts/docs.py

lock: ## resolve the locks anew (needs uv)
	@sh scripts/lock.sh

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pointsman needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.local: requirements/local.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing Pointsman and its engines into $(VENV): about 510 MB to download, 1.5 GB on disk, once …"
	@$(PIP) install $(LOCKED) -r requirements/local.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.local | $(VENV)/bin/python
	@echo "Installing the development tools into $(VENV): about 40 MB to download, once …"
	@$(PIP) install --quiet $(LOCKED) -r requirements/dev.lock
	@touch $@

$(VENV)/.transformers: requirements/transformers.lock requirements/torch.lock $(VENV)/.local
	@echo "Installing transformers and torch (for CPUs) into $(VENV): about 220 MB to download, 0.9 GB on disk, once …"
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install --quiet $(LOCKED) -r requirements/torch.lock || { \
		echo "No torch for CPUs was found. pytorch.org names the index that has it: set PIP_EXTRA_INDEX_URL to that,"; \
		echo "or install a torch of your choice into $(VENV), and run make transformers again."; exit 1; }
	@$(PIP) install --quiet $(LOCKED) -r requirements/transformers.lock
	@$(BIN)/python -c 'import torch, transformers'
	@touch $@
