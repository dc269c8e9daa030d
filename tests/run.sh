#!/bin/sh
# Everything that passes before a change lands: adds the wasm targets, builds the guests, builds
# and tests the workspace. One profile throughout, so that wasmtime is compiled once.
set -eu
cd "$(dirname "$0")/.."

wasm-examples/build.sh
# The binary that the e2e tests run.
cargo build --locked -p euston
cargo test --locked --workspace
