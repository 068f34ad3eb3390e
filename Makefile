# holdfast: the commands a person types. `make demo` and `make test` set up what is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.holdfast-setup
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup check format lint types test bench demo clean

setup: $(STAMP)

# The stamp is newer than what it was made from, or the environment is made again on top of itself.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdfast needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/holdfast demo

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

check: format lint types

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

# The folders are mapped into one package by setuptools; mypy sees them through a tree of links, from outside.
types: setup
	rm -rf build/types && mkdir -p build/types/holdfast
	ln -s $(CURDIR)/holdfast/* $(CURDIR)/configs $(CURDIR)/storage $(CURDIR)/pipeline $(CURDIR)/loaders build/types/holdfast/
	cd build/types && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p holdfast

bench: setup
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf build holdfast-demo .pytest_cache .mypy_cache .ruff_cache
