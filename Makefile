# Everything a person needs; `uv` is fetched into .uv/ where it is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.12
UV := $(shell command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1 && command -v uv || echo .uv/bin/uv)
RUN = $(UV) run --no-sync

export DAGSTER_HOME ?= $(CURDIR)/.dagster
export DAGSTER_DISABLE_TELEMETRY = yes
WORKFLOWS ?= demo/workflows
PORT ?= 3000

.PHONY: help setup demo dev test check format schema docs bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	@command -v $(PYTHON) >/dev/null 2>&1 && $(PYTHON) -m venv .uv || python3 -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv

setup: $(filter .uv/bin/uv,$(UV))  ## make the environment (.venv) from uv.lock
	@$(UV) sync --locked --quiet
	@mkdir -p "$(DAGSTER_HOME)" && { [ -e "$(DAGSTER_HOME)/dagster.yaml" ] || cp dagster.yaml "$(DAGSTER_HOME)/"; }

demo: setup  ## the whole chain on a made-up catalog, offline
	@$(RUN) python -m demo.run

dev: setup  ## Dagster's UI on what the demo made (WORKFLOWS=workflows for your own)
	@STAC_WORKFLOWS=$(WORKFLOWS) $(RUN) python -m demo.dev --port $(PORT)

test: setup  ## all tests that this machine can run
	@$(RUN) pytest --numprocesses logical --maxprocesses 4 --dist worksteal

check: setup  ## lint, format and types
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

format: setup  ## format and mend what can be mended
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

schema: setup  ## write the JSON Schema of workflow files anew
	@$(RUN) python -m stac_manager.config.schema

docs: setup  ## draw the picture of the rooms anew
	@$(RUN) python docs/draw_rooms.py

bench: setup  ## measure; each contender in a process of its own
	@$(RUN) python -m benchmarks.run

clean:  ## remove what demo and dev made
	@rm -rf demo-data .dagster
