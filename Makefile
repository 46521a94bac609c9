# Subnode. `make run` opens a dev chain; `make test` runs every test. Both set up what is missing first.

# The same profile for run, test and bench: RocksDB and wasmtime are long builds.
CARGO = cargo
export RUSTFLAGS ?=

.PHONY: run test bench lint setup help

help: ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /	/' | expand -t 12

run: setup ## build, and open a dev chain on http://127.0.0.1:8545
	@$(CARGO) run --release --quiet --bin subnode -- dev $(ARGS)

test: setup ## every test
	@$(CARGO) test --release --workspace

bench: setup ## the tables of benches/README.md
	@$(CARGO) run --release --quiet -p subnode-benches

lint: setup ## formatting and clippy, as CI wants them
	@$(CARGO) clippy --release --workspace --all-targets -- -D warnings

setup: ## install what is missing: clang, cmake, the wasm target
	@./tests/setup.sh
