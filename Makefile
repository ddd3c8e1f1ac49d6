# Every target sets up what it needs by itself. `make help` lists them.
#   PYTHON=python3.12         interpreter for the environment (default: the first of 3.11 or newer)
#   TORCH_BACKEND=cpu         on a machine without a GPU: the smaller CPU build of torch (asked of uv)
#   BUDGET=30                 minutes that `make reproduce` may spend
#   MODELS=text,fast          which models it retrains: text, fast, views, temporal, bone, judges
#   WORKERS=2                 processes that `make test` runs side by side, one core each
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos reproduce clean

NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,\
	$(shell $(p) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(p))))
TORCH_BACKEND ?=
BUDGET ?= 30
MODELS ?= text
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

demo: $(READY)  ## sixteen or more labelled radiographs from the shipped weights, in demo/
	@$(BIN)/cxr-sample demo --out demo
	@echo "Look at demo/: open its HTML page, or the contact sheet beside it."

test: $(READY)  ## lint, then the whole suite
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

check: $(READY)  ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

bench: $(READY)  ## the promised ratios and times, on this machine
	@failed=0; for part in bench bench_speed bench_arithmetic bench_bone bench_data bench_sets bench_eval; do $(BIN)/python tests/$$part.py || failed=1; done; \
		$(BIN)/python train/memory.py configs/text_512.yaml || failed=1; exit $$failed

chaos: $(READY)  ## kills, full disks, hostile files on the real program; long
	@$(BIN)/python tests/chaos.py; first=$$?; $(BIN)/python tests/chaos_fuzz.py && exit $$first

reproduce: $(READY)  ## retrain the shipped models in BUDGET minutes and compare
	@$(BIN)/python train/reproduce.py --minutes $(BUDGET) --models $(MODELS)

clean:  ## remove what building, testing and the demo leave; runs/ and .venv stay
	@rm -rf build dist demo *.egg-info .pytest_cache .ruff_cache
	@find . -path ./.venv -prune -o -path ./runs -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python of 3.11 or newer found; install one or pass PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

# uv installs in a fraction of pip's time; where it cannot be had, or finds no packages, pip does it
$(READY): pyproject.toml | $(BIN)/python
	@echo "Installing cxr-gen and its packages into .venv (the first time some minutes, several GB)"
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv || true
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -e '.[dev]' \
		|| { echo "uv could not install; trying pip$(if $(TORCH_BACKEND), (which ignores TORCH_BACKEND))"; \
		     $(BIN)/python -m pip install --quiet -e '.[dev]'; }
	@touch $@
