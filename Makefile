# `make demo` and `make test` need only Python >= 3.11 and a package index; everything else is
# installed into .venv. Choose an interpreter with PYTHON=..., pass options to pip with PIP_ARGS=...,
# for example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
CORES ?= all
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: help demo test test-faults test-slurm reliability lint docs bench bench-quick clean

help:
	@echo "make demo   simulated data set: install, run everything, print what was recovered"
	@echo "make test   install, run the whole test suite"
	@echo "make test-faults  kill whole runs at random moments (minutes); make reliability writes the page of faults"
	@echo "make test-slurm  the workflow and its faults on a throw-away SLURM of this machine"
	@echo "make lint   install, run ruff, mypy, snakefmt and import-linter"
	@echo "make bench  accuracy and speed of all models on simulated sets (hours); bench-quick in ten minutes"
	@echo "make docs   write schema and config reference anew from the settings models"
	@echo "make clean  remove .venv and caches; results stay"

demo: .venv/demo
	@$(BIN)/python workflow/scripts/demo.py --cores $(CORES)

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m kills

reliability: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests tests/slurm -m fault --reliability docs/reliability.md

# Says on stderr why it skips, where there can be no SLURM.
test-slurm: .venv/dev
	@if tests/slurm/install.sh; then OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm; fi

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/lint-imports

docs: .venv/dev
	$(BIN)/tomopipe config schema --out workflow/schemas/config.schema.json
	$(BIN)/tomopipe config docs --out docs/config.md
	$(BIN)/tomopipe config docs --out config/README.md

bench: .venv/dev
	$(BIN)/python -m benchmarks.heterogeneity --noise "low noise" "high noise" --box 32 64

bench-quick: .venv/dev
	$(BIN)/python -m benchmarks.heterogeneity --quick

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "tomopipe needs Python 3.11 or newer: none found, set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot make .venv: install the venv module (Debian: apt install python3-venv)" >&2; exit 1; }

# A marker in .venv is newer than what it was made from: nothing is installed twice.
.venv/demo: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing tomopipe into .venv (the first time downloads some hundred MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[workflow]"
	@touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing tomopipe and its tools into .venv (the first time downloads some hundred MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[lint,test]"
	@touch $@
