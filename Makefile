# Each target sets up what it needs, in .venv; nothing else has to be typed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON_FILES := src tests benchmarks experiments examples plugins scripts
export MUJOCO_GL ?= egl

.PHONY: setup demo test coverage check types format site bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt scripts/setup.sh
	PYTHON=$(PYTHON) VENV=$(VENV) bash scripts/setup.sh
	touch $@

demo: setup
	$(BIN)/foreact demo

test: setup
	$(BIN)/python -m pytest

coverage: setup  # the report is in outputs/coverage
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-report=html:outputs/coverage

check: setup  # seconds: format, lint, which room imports which
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/lint-imports

types: setup  # a minute; fetches pyright's own program when first run
	$(BIN)/pyright

format: setup
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/ruff check --fix $(PYTHON_FILES)

site: setup  # the documents as a site, in outputs/site
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m mkdocs build

bench: setup
	$(BIN)/foreact bench --out outputs/bench

clean:
	rm -rf $(VENV)
