# `make` alone says what there is. Every target first makes the host ready (harness/host/setup.py): nothing to do is instant.
#   make scenarios ALL=1                      all scenarios, not just the core
#   make scenarios BUTANE=my.bu               what the rules say of your own file, booted
#   make scenarios ARGS='-k tang_down -v'     passes arguments to pytest; those that select scenarios select among all
#   make scenarios PYTHON=python3.12          makes the .venv with another Python (3.11 or newer)
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

setup: ## install what is missing: packages, .venv, the user that root's machines run as
	@$(PYTHON) -m harness.host.setup

start: ## set-up, and start what must run: Docker
	@$(PYTHON) -m harness.host.setup --start

prepare: start ## make what the first boots need, all at once: images, firmware, Tang
	@$(VENV)/python -m harness prepare

scenarios: prepare ## boot real machines and judge their unlock: the core, or ALL=1; ARGS goes to pytest. BUTANE="a.bu b.ign" proves those files instead
	$(if $(BUTANE),$(VENV)/unlock-lab prove $(BUTANE) $(ARGS),$(VENV)/pytest scenarios/ -n auto $(if $(ALL)$(filter -m% -k%,$(ARGS)),,-m core) $(ARGS))

test: lint types unit ## lint, types and tests of the harness itself

lint: setup ## ruff: mistakes and formatting; shellcheck for every script; zizmor for the workflows
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/shellcheck $(SCRIPTS)
	$(VENV)/zizmor --offline --quiet .github/workflows

format: setup ## ruff: put right what it can
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

types: setup ## mypy, strict
	$(VENV)/mypy

unit: setup ## fast tests of the harness: no root, no machine; ARGS goes to pytest
	$(VENV)/pytest -m "not real and not slow" $(ARGS)

real: start ## tests of each real part (swtpm, Docker, libvirt, QEMU), one at a time; ARGS goes to pytest
	$(VENV)/pytest -m "real and not slow" $(ARGS)

slow: start ## tests that take many minutes: the same bytes from two builds of an image, all mutants; ARGS goes to pytest
	@$(VENV)/pip install --quiet --requirement tests/mutation/requirements.txt
	$(VENV)/pytest -m slow $(ARGS)

fuzz: setup ## fuzz the readers by coverage, SECONDS each (3600); what is found is kept in tests/fuzz/seeds
	@$(VENV)/pip install --quiet --requirement tests/fuzz/requirements.txt
	@for target in $$(cd tests && ../$(VENV)/python -c 'print(*__import__("fuzz_targets").TARGETS)'); do \
	  echo "== $$target"; PYTHONPATH=tests $(VENV)/python tests/fuzz/run.py $$target $(SECONDS) || exit 1; done

mutants: setup ## change the code in small ways and see that a test notices; ARGS=judge tries modules with that in their path
	@$(VENV)/pip install --quiet --requirement tests/mutation/requirements.txt
	PYTHONPATH=tests $(VENV)/python tests/mutation/run.py $(ARGS)

chaos: start ## break the laboratory at random points (100 hits, as root) and look what it leaves behind; ARGS goes to it
	$(VENV)/python tests/stress/chaos.py $(ARGS)

soak: prepare ## the same three boots many times (200); ARGS goes to it
	$(VENV)/python tests/stress/soak.py $(ARGS)

matrix: start ## the truth table, every cell booted; goes on where it was. BUTANE="a.bu b.ign" takes those as they are instead, each on a machine of its own; ARGS goes to it
	$(VENV)/unlock-lab matrix $(addprefix --butane=,$(BUTANE)) $(ARGS)

bench: start ## where the time of a boot goes, and what the harness adds; ARGS goes to the bench
	$(VENV)/unlock-lab bench $(ARGS)

doctor: setup ## what this host has, lacks, and how to get it
	$(VENV)/unlock-lab doctor

images: start ## build the guest, firmware and Tang images that are not in the cache
	$(VENV)/unlock-lab images build

report: setup ## the last run as one HTML page
	$(VENV)/unlock-lab report

docs: setup ## the reference of the API and of the JSON schemas, as pages in artifacts/reference
	mkdir -p artifacts/reference
	$(VENV)/pdoc --docformat google --output-directory artifacts/reference $(PAGES)
	set -e; for schema in harness/*/*.schema.json; do \
	    $(VENV)/generate-schema-doc --config with_footer=false "$$schema" artifacts/reference/"$$(basename "$$schema" .schema.json)".html; \
	done

clean: setup ## remove what dead runs left; ARGS=--cache also what is slow to make
	$(VENV)/unlock-lab clean $(ARGS)

corpus: setup ## what the real Butane and Ignition say of the corpus's files; builds them, where Go and its module proxy are
	PYTHONPATH=tests $(VENV)/python -m policy.corpus.opinions

constraints: ## choose the pinned versions of all dependencies anew, from what pyproject.toml names
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e -o pipefail && \
	$(PYTHON) -m venv $$folder && \
	$$folder/bin/pip install --quiet --upgrade setuptools --editable '.[dev]' && \
	$$folder/bin/pip freeze --all --exclude-editable --exclude pip > $$folder/new && \
	{ grep '^#' constraints.txt; \
	  LC_ALL=C sort --ignore-case --unique --field-separator== --key=1,1 --stable \
	    $$folder/new <(grep -v '^#' constraints.txt); } > $$folder/all && \
	cp $$folder/all constraints.txt
