#!/bin/sh
# Everything that passes before a change lands: adds the wasm targets, builds the guests, builds
# and tests the workspace. One profile throughout, so that wasmtime is compiled once.
set -eu
cd "$(dirname "$0")/.."

wasm-examples/build.sh
# Builds the binaries that the e2e tests run as well. Always the whole workspace: a part of it alone would have its
# dependencies built with fewer features, and then built again.
cargo test --locked --workspace
