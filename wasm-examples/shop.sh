#!/bin/sh
# The cookie shop on a cluster of its own: builds the guests and Euston, starts a cluster in one
# process, pushes the images, applies shop.yaml, and prints how to reach it. Ctrl-C ends it.
#
#   wasm-examples/shop.sh [ARGS OF euston dev...]
set -eu
cd "$(dirname "$0")/.."

wasm-examples/build.sh
# Built and then run by itself, so that Ctrl-C reaches Euston and not cargo.
cargo build --locked --workspace --bin euston
exec "${CARGO_TARGET_DIR:-target}/debug/euston" dev \
    --image backend:v1=wasm-examples/dist/backend.wasm \
    --image frontend:v1=wasm-examples/dist/frontend.wasm \
    -f wasm-examples/shop.yaml "$@"
