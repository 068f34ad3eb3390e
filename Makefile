# holdfast: the commands a person types. `make demo` and `make test` set up what is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.holdfast-setup
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup check format lint types test daemons daemons-if-go npm npm-if-node bench bench-loaders bench-ipfs bench-pieces bench-bad-input live-filecoin crash soak fuzz mutants demo clean

setup: $(STAMP)

# The stamp is newer than what it was made from, or the environment is made again on top of itself.
$(STAMP): pyproject.toml constraints.txt storage/pieces/_commp.c storage/pieces/lanes.h
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdfast needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/holdfast demo

test: setup
	$(MAKE) --no-print-directory daemons-if-go npm-if-node
	$(BIN)/python -m pytest -q -n 3 --dist loadgroup

# The real programs of the network that tests/daemons speaks to, of pinned versions: three minutes of building, once.
DAEMONS := build/daemons
daemons: $(DAEMONS)/ipfs $(DAEMONS)/ipfs-cluster-service

$(DAEMONS)/ipfs: tests/daemons/kubo/go.mod tests/daemons/kubo/go.sum
	@mkdir -p $(DAEMONS)
	cd tests/daemons/kubo && go build -o $(CURDIR)/$@ github.com/ipfs/kubo/cmd/ipfs
	touch $@

$(DAEMONS)/ipfs-cluster-service: tests/daemons/cluster/go.mod tests/daemons/cluster/go.sum
	@mkdir -p $(DAEMONS)
	cd tests/daemons/cluster && go build -o $(CURDIR)/$@ github.com/ipfs-cluster/ipfs-cluster/cmd/ipfs-cluster-service
	touch $@

daemons-if-go:
	@if go version 2>/dev/null | grep -qE 'go1\.(2[6-9]|[3-9][0-9])'; then $(MAKE) --no-print-directory daemons; \
	else echo "no Go 1.26: the tests against real daemons (tests/daemons) are skipped"; fi

# Programs of others in JavaScript that tests compare with; a few megabytes, without their scripts.
NPM := build/npm
npm: $(NPM)/.installed

$(NPM)/.installed: tests/npm/package.json tests/npm/package-lock.json
	@mkdir -p $(NPM)
	cp $^ $(NPM)/
	cd $(NPM) && npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

npm-if-node:
	@if node --version 2>/dev/null | grep -qE 'v(2[0-9]|[3-9][0-9])' && npm --version >/dev/null 2>&1; then $(MAKE) --no-print-directory npm \
	|| echo "npm could not install: the comparisons with JavaScript programs (tests/npm) are skipped"; \
	else echo "no Node 20 with npm: the comparisons with JavaScript programs (tests/npm) are skipped"; fi

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

# Coverage-guided, on every parser of foreign bytes; as long as told: make fuzz FUZZ_SECONDS=3600 FUZZ_TARGETS="car dag_pb"
FUZZ_SECONDS ?= 60
fuzz: setup
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]'
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Do the tests notice when a check is taken out of the code?
mutants: setup
	$(BIN)/python tests/attack/mutants.py

# Rates beside their floors, then the promised figures beside their goals (nginx, from Debian's nginx-light, if it is there)
bench: setup
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.goals

# The loader beside its peers, which are installed under build/peers: make bench-loaders LOADERS="--only images --scale 0.05"
bench-loaders: setup
	$(BIN)/python -m benchmarks.loaders $(LOADERS)

# Filecoin's pieces beside sha256 of the same bytes
bench-pieces: setup
	$(BIN)/python -m benchmarks.pieces

# Beside a real Kubo: publishing to it, reading from it, being read by it: make bench-ipfs IPFS="--only push --rounds 3"
bench-ipfs: setup daemons
	PYTHONPATH=tests $(BIN)/python -m benchmarks.ipfs $(IPFS)

# What each loader does with a flipped byte, a cut connection, a server that falls silent: make bench-bad-input LOADERS="--only flipped"
bench-bad-input: setup
	$(BIN)/python -m benchmarks.loaders.bad_input $(LOADERS)

# Stores 2 MB on Filecoin's calibration network, with your own key: docs/filecoin.md
live-filecoin: setup
	$(BIN)/python -m pytest -q -s tests/chain/test_live.py

# CRASH_KILLS=1000 CRASH_SEED=7 make crash: kill -9 at random moments of everything that writes
CRASH_KILLS ?= 1000
crash: setup
	cd tests && ../$(BIN)/python -m crash --kills $(CRASH_KILLS) $(if $(CRASH_SEED),--seed $(CRASH_SEED))

# SOAK_MINUTES=600 make soak: hosts die, lie and freeze under a training loop; build/soak/ has the plot
soak: setup
	cd tests && ../$(BIN)/python -m soak

clean:
	rm -rf build holdfast-demo .pytest_cache .mypy_cache .ruff_cache
