PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint docs tables fix clean

demo: .venv/installed
	$(BIN)/clbench run suites/copy_task.yaml --budget demo --seeds 42 --only permuted --results demo-results

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

tables: .venv/installed  # run the commands that stand above the generated tables
	grep -rhoP '(?<=^<!-- )clbench table .*(?= -->$$)' README.md docs | PATH=$(BIN):$$PATH sh -ex

fix: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv demo-results docs/_build .mypy_cache .pytest_cache .ruff_cache
