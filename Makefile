# Subnode. `make run` opens a dev chain; `make test` runs every test. Both set up what is missing first.

CARGO = cargo
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# Where cargo puts what it builds.
TARGET = $(or $(CARGO_TARGET_DIR),target)
SUBNODE = $(TARGET)/release/subnode
# Run natively: their own build is for wasm32-wasip2.
GUESTS = --manifest-path guest-modules/Cargo.toml --target $(HOST)

.PHONY: help run build test fuzz sim countermeasures bench lint setup setup-tests

help: ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /	/' | expand -t 12

run: build ## build, and open a dev chain on http://127.0.0.1:8545 (ARGS="--chains 3" for more)
	@$(SUBNODE) dev $(ARGS)

build: setup ## build what runs: one program, its debug information in a file beside it
	@[ -x $(SUBNODE) ] || echo "build: a first one takes a quarter of an hour on two cores, most of it RocksDB, wasmtime and the guest modules" >&2
	@$(CARGO) build --release --workspace --bin subnode
	@if command -v objcopy >/dev/null && readelf -S $(SUBNODE) | grep -q '\.debug_line'; then \
		objcopy --only-keep-debug $(SUBNODE) $(SUBNODE).debug && \
		objcopy --strip-all --add-gnu-debuglink=$(SUBNODE).debug $(SUBNODE); \
	fi

test: setup-tests ## every test
	@$(CARGO) test --release --workspace
	@$(CARGO) test $(GUESTS) --lib

# The filter is in the name of every target, and of nothing else.
fuzz: setup ## what takes bytes from outside, on bytes that nobody thought of (SECONDS=60 each, SEED=1)
	@SUBNODE_FUZZ_SECONDS=$(or $(SECONDS),60) SUBNODE_FUZZ_SEED=$(or $(SEED),1) $(CARGO) test --release --workspace --lib --bins --test fuzz fuzzed_ -- --nocapture

sim: setup ## simulated committees and networks, as many as are printed (SEEDS=0..10000)
	@SUBNODE_SIM_SEEDS=$(or $(SEEDS),0..1000) $(CARGO) test --release --workspace --test sim -- --show-output

countermeasures: setup ## that each simulated bad member and stranger does harm without what stops it (15 minutes)
	@$(CARGO) test --release --workspace --test sim -- --ignored --nocapture

bench: setup ## the tables of benches/README.md (ARGS="guest dev" for some; AGAINST=REV in turns with another commit, ROUNDS=5 times)
	@$(CARGO) build --release --workspace
	@CARGO="$(CARGO)" ROUNDS="$(ROUNDS)" $(TARGET)/release/subnode-benches $(if $(AGAINST),against "$(AGAINST)") $(ARGS)

lint: setup ## formatting and clippy, without a warning
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt --manifest-path guest-modules/Cargo.toml --all --check
	@$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	@$(CARGO) clippy $(GUESTS) -- -D warnings

setup: ## install what a build needs: a C compiler, clang, cmake, the wasm target
	@./tests/setup.sh

setup-tests:
	@./tests/setup.sh tests
