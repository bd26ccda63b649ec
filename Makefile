# `make` alone says what there is. Every target first makes the host ready (harness/host/setup.py): nothing to do is instant.
#   make scenarios ALL=1                   all scenarios, not just the core
#   make scenarios BUTANE="a.bu b.ign"     what the rules say of your files, booted
#   make matrix BUTANE=my.bu               your file under every condition
#   make scenarios ARGS='-k tang_down -v'  for pytest; -k, -m select among all
#   make mutants ARGS=judge                modules with that in their path
#   make setup PYTHON=python3.12           another one for .venv, from 3.11 on
SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=
BUTANE ?=
SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),3600)
VENV := .venv/bin
# What scenarios import, and the modules among that.
PAGES := harness.api harness.guest.events harness.lab.faults harness.policy.maintenance harness.matrix.truth_table \
    harness.api.attack harness.api.edge harness.attack.luks_forgery harness.attack.softhsm harness.attack.tang_exchange harness.attack.uki harness.machine.nvram
SCRIPTS = $(shell grep -rlE --exclude-dir=artifacts '^\#!.*[/ ](ba|da)?sh( |$$)|^\# shellcheck shell=' .ci images harness scenarios)

.DEFAULT_GOAL := help
.PHONY: help setup start prepare scenarios test lint format types unit real slow matrix bench doctor images report docs clean constraints corpus fuzz mutants chaos soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; sed -n 's/^#   //p' $(MAKEFILE_LIST)

setup: ## install what is missing: packages, .venv, a user for machines
	@$(PYTHON) -m harness.host.setup

start: ## set-up, and start what must run: Docker
	@$(PYTHON) -m harness.host.setup --start

prepare: start ## make what the first boots need: images, firmware, Tang
	@$(VENV)/python -m harness prepare

scenarios: prepare ## boot real machines and judge their unlock: the core
	$(if $(BUTANE),$(VENV)/unlock-lab prove $(BUTANE) $(ARGS),$(VENV)/pytest scenarios/ -n auto $(if $(ALL)$(filter -m% -k%,$(ARGS)),,-m core) $(ARGS))

test: lint types unit ## lint, types and tests of the harness itself

lint: setup ## ruff, shellcheck for every script, zizmor for the workflows
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/shellcheck $(SCRIPTS)
	$(VENV)/zizmor --offline --quiet .github/workflows

format: setup ## ruff: put right what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

types: setup ## mypy, strict
	$(VENV)/mypy

unit: setup ## fast tests of the harness: no root, no machine
	$(VENV)/pytest -m "not real and not slow" $(ARGS)

real: start ## tests of each real part (swtpm, Docker, libvirt, QEMU) in turn
	$(VENV)/pytest -m "real and not slow" $(ARGS)

slow: start ## tests that take many minutes: images built twice, all mutants
	@$(VENV)/pip install --quiet --requirement tests/mutation/requirements.txt
	$(VENV)/pytest -m slow $(ARGS)

fuzz: setup ## fuzz the readers by coverage, SECONDS each (3600)
	@$(VENV)/pip install --quiet --requirement tests/fuzz/requirements.txt
	@set -e; targets=$$(cd tests && ../$(VENV)/python -c 'print(*__import__("fuzz_targets").TARGETS)'); \
	for target in $$targets; do \
	  echo "== $$target"; PYTHONPATH=tests $(VENV)/python tests/fuzz/run.py $$target $(SECONDS); done

mutants: setup ## change the code in small ways and see that a test notices
	@$(VENV)/pip install --quiet --requirement tests/mutation/requirements.txt
	PYTHONPATH=tests $(VENV)/python tests/mutation/run.py $(ARGS)

chaos: start ## break the laboratory at random points, as root; what stays?
	$(VENV)/python tests/stress/chaos.py $(ARGS)

soak: prepare ## the same three boots many times (200)
	$(VENV)/python tests/stress/soak.py $(ARGS)

matrix: start ## boot every cell of the truth table; goes on where it was
	$(VENV)/unlock-lab matrix $(addprefix --butane=,$(BUTANE)) $(ARGS)

bench: start ## where the time of a boot goes, and what the harness adds
	$(VENV)/unlock-lab bench $(ARGS)

doctor: setup ## what this host has, lacks, and how to get it
	$(VENV)/unlock-lab doctor

images: start ## build the images that the cache lacks: guests, firmware, Tang
	$(VENV)/unlock-lab images build

report: setup ## the last run as one HTML page
	$(VENV)/unlock-lab report

docs: setup ## the reference of API and JSON schemas: artifacts/reference
	mkdir -p artifacts/reference
	$(VENV)/pdoc --docformat google --output-directory artifacts/reference $(PAGES)
	set -e; for schema in harness/*/*.schema.json; do \
	    $(VENV)/generate-schema-doc --config with_footer=false "$$schema" artifacts/reference/"$$(basename "$$schema" .schema.json)".html; \
	done

clean: setup ## remove what dead runs left, with ARGS=--cache the cache, too
	$(VENV)/unlock-lab clean $(ARGS)

corpus: setup ## what the real Butane and Ignition say of the corpus; needs Go
	PYTHONPATH=tests $(VENV)/python -m policy.corpus.opinions

constraints: ## choose the pinned versions of all dependencies anew
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e -o pipefail && \
	$(PYTHON) -m venv $$folder && \
	$$folder/bin/pip install --quiet --upgrade setuptools --editable '.[dev]' && \
	$$folder/bin/pip freeze --all --exclude-editable --exclude pip > $$folder/new && \
	{ grep '^#' constraints.txt; \
	  LC_ALL=C sort --ignore-case --unique --field-separator== --key=1,1 --stable \
	    $$folder/new <(grep -v '^#' constraints.txt); } > $$folder/all && \
	cp $$folder/all constraints.txt
