# One command each. `make help` lists them.
SHELL := /bin/sh
BIN := .venv/bin

.PHONY: help setup demo demo-kafka up test lint format docs bench lock clean
help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup:  ## make .venv from the hash-locked requirements
	@scripts/setup.sh

demo: setup  ## 10,000 mails through the whole house on one machine; RELAY=smtp|sendgrid|mailgun|postmark|ses; KEEP=1 leaves the data
	@$(BIN)/posthouse demo $(if $(RELAY),--relay $(RELAY)) $(if $(KEEP),--keep)

demo-kafka: setup  ## the demo with Kafka as the bus, on a broker that it fetches and starts
	@$(BIN)/posthouse demo --kafka $(if $(RELAY),--relay $(RELAY)) $(if $(KEEP),--keep)

up: setup  ## the same house, kept running; Ctrl-C drains and stops it
	@$(BIN)/posthouse up

lint: setup  ## formatter, linter, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint  ## everything, against a real PostgreSQL
	@$(BIN)/pytest -n 4 --ignore=tests/e2e
	@$(BIN)/pytest -n 2 --dist loadfile tests/e2e

format: setup  ## format and sort imports
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup  ## write what docs/ says of settings and states from the code
	@$(BIN)/python -m posthouse.cli.docs

bench: setup  ## the benchmarks; one JSON line each
	@$(BIN)/python -m bench

lock: setup  ## resolve pyproject.toml into requirements.lock again (needs uv), and what an image needs of it
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra dev pyproject.toml \
	  -o requirements.lock --no-header --no-annotate --no-emit-index-url
	uv pip compile --universal --python-version 3.11 --generate-hashes --constraint requirements.lock pyproject.toml \
	  -o deploy/requirements.lock --no-header --no-annotate --no-emit-index-url

clean:  ## remove the virtual environment and the data folder
	rm -rf .venv .posthouse
