#!/bin/sh
# Builds every guest into dist/NAME.wasm (components, WASI 0.2); commands also into
# dist/NAME.wasip1.wasm (core modules, WASI 0.1). Adds the two targets where they are missing.
set -eu
cd "$(dirname "$0")"

http="hello frontend backend"
commands="counter crasher envprint memhog spinner toolbox"

if command -v rustup >/dev/null 2>&1; then
    installed=$(rustup target list --installed)
    for target in wasm32-wasip1 wasm32-wasip2; do
        case "$installed" in
            *"$target"*) ;;
            *) rustup target add "$target" ;;
        esac
    done
fi

packages() {
    for name in "$@"; do
        printf -- '-p %s ' "$name"
    done
}

# The guests' own target folder, also where the caller has set another for the node.
export CARGO_TARGET_DIR="$PWD/target"
# Flags meant for the node's native code do not fit these targets.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
# shellcheck disable=SC2046 # the words are meant to be split
cargo build --locked --release --target wasm32-wasip2 $(packages $http $commands)
# shellcheck disable=SC2046
cargo build --locked --release --target wasm32-wasip1 $(packages $commands)

# Replaced by renaming, and only where they changed: whoever reads dist/ sees whole files.
put() {
    if ! cmp -s "$1" "$2"; then
        cp "$1" "$2.new"
        mv "$2.new" "$2"
    fi
}
mkdir -p dist
for name in $http $commands; do
    put "target/wasm32-wasip2/release/$name.wasm" "dist/$name.wasm"
done
for name in $commands; do
    put "target/wasm32-wasip1/release/$name.wasm" "dist/$name.wasip1.wasm"
done
ls -l dist/*.wasm | awk '{ printf "%8d  %s\n", $5, $NF }'
