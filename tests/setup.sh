#!/bin/sh
# Installs what a machine lacks to build Subnode (`setup.sh`) or to test it as well (`setup.sh tests`), and says what it does.
# Does nothing where nothing is missing.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

debian=""
brew=""
need() { debian="$debian $1" brew="$brew $2"; }

has cc && has c++ || need build-essential llvm
has make || need make make
has cmake || need cmake cmake
has clang || need clang llvm
# RocksDB's bindings are generated with libclang, which Debian packages apart.
find /usr/lib /usr/local/lib /usr/local/opt/llvm/lib /opt/homebrew/opt/llvm/lib /Library/Developer/CommandLineTools/usr/lib \
	-maxdepth 3 \( -name 'libclang.so*' -o -name 'libclang-*.so*' -o -name 'libclang.dylib' \) 2>/dev/null | grep -q . || need libclang-dev llvm
if [ "${1:-}" = tests ]; then
	# The client libraries that the tests run come from npm and PyPI.
	has node && has npm || need "nodejs npm" node
	python3 -c 'import ensurepip, venv' 2>/dev/null || need "python3 python3-venv" python
fi

if [ -n "$debian" ]; then
	if has apt-get; then
		sudo=""
		[ "$(id -u)" = 0 ] || sudo="sudo"
		say "installing with apt:$debian"
		$sudo apt-get update -qq
		# shellcheck disable=SC2086
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $debian >/dev/null
	elif has brew; then
		say "installing with brew:$brew"
		# shellcheck disable=SC2086
		brew install --quiet $brew
	else
		say "please install these (Debian's names), then run this again:$debian"
		exit 1
	fi
fi

if ! has cargo; then
	say "please install Rust (https://rustup.rs), then run this again"
	exit 1
fi
if ! [ -d "$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null)" ]; then
	if has rustup; then
		say "adding the target wasm32-wasip2 with rustup"
		rustup target add wasm32-wasip2
	else
		say "please install the Rust target wasm32-wasip2, then run this again"
		exit 1
	fi
fi
