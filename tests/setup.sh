#!/bin/sh
# Installs what a bare machine lacks to build and test Subnode, and says what it does. Does nothing where nothing is missing.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc build-essential
need cmake cmake
need clang clang
# RocksDB's bindings are generated with libclang, which Debian packages apart.
if ! find /usr/lib /usr/local/lib /usr/local/opt/llvm/lib /opt/homebrew/opt/llvm/lib /Library/Developer/CommandLineTools/usr/lib \
	-maxdepth 3 \( -name 'libclang.so*' -o -name 'libclang-*.so*' -o -name 'libclang.dylib' \) 2>/dev/null | grep -q .; then
	missing="$missing libclang-dev"
fi

if [ -n "$missing" ]; then
	if command -v apt-get >/dev/null 2>&1; then
		sudo=""
		[ "$(id -u)" = 0 ] || sudo="sudo"
		say "installing with apt:$missing"
		$sudo apt-get update -qq
		# shellcheck disable=SC2086
		DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing >/dev/null
	elif command -v brew >/dev/null 2>&1; then
		say "installing with brew: llvm cmake"
		brew install --quiet llvm cmake
	else
		say "please install:$missing (a C compiler, cmake, clang and libclang), then run this again"
		exit 1
	fi
fi

if ! command -v cargo >/dev/null 2>&1; then
	say "please install Rust (https://rustup.rs), then run this again"
	exit 1
fi
if ! rustc --print target-libdir --target wasm32-wasip2 2>/dev/null | xargs test -d 2>/dev/null; then
	if command -v rustup >/dev/null 2>&1; then
		say "adding the target wasm32-wasip2 with rustup"
		rustup target add wasm32-wasip2
	else
		say "please install the Rust target wasm32-wasip2, then run this again"
		exit 1
	fi
fi
