# Each target sets up what it needs, in .venv; nothing else has to be typed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MUJOCO_GL ?= egl

.PHONY: setup demo test check bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt scripts/setup.sh
	PYTHON=$(PYTHON) VENV=$(VENV) bash scripts/setup.sh
	touch $@

demo: setup
	$(BIN)/foreact demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check src tests benchmarks experiments examples plugins
	$(BIN)/ruff check src tests benchmarks experiments examples plugins
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: setup
	$(BIN)/foreact bench --out outputs/bench

clean:
	rm -rf $(VENV)
