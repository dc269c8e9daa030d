#!/bin/sh
# Fetches etcd and etcdctl 3.4 for the tests and benchmarks of raft-store/etcd.
#
#   tests/fetch-etcd.sh [DIR]       DIR: default target/tools/etcd
#
# Leaves DIR/etcd and DIR/etcdctl, and prints DIR. Does nothing if they are there and run. They come from Debian's
# packages etcd-client and etcd-server, which are downloaded and unpacked, not installed: no root is needed, only a
# Debian or Ubuntu whose package lists are up to date (apt-get update).
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dir=${1:-$root/target/tools/etcd}

fail() {
    echo "fetch-etcd: $*" >&2
    exit 1
}

works() {
    "$dir/etcdctl" version 2>/dev/null | grep -q '3\.4' &&
        "$dir/etcd" --version 2>/dev/null | grep -q '3\.4'
}

if works; then
    echo "$dir"
    exit 0
fi

for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || fail "$tool is needed: this works on Debian and Ubuntu only"
done

mkdir -p "$dir"
# Beside the target, so that the final rename is atomic.
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

# apt drops its rights to a user who must be able to write here.
chmod 755 "$work"
(cd "$work" && apt-get download -q -o APT::Sandbox::User= etcd-client etcd-server >/dev/null) ||
    fail "apt-get could not download etcd-client and etcd-server; run apt-get update, and look whether a mirror is reachable"

for package in "$work"/*.deb; do
    dpkg-deb --extract "$package" "$work/unpacked" || fail "$package cannot be unpacked"
done
mv "$work/unpacked/usr/bin/etcd" "$work/unpacked/usr/bin/etcdctl" "$dir/"
works || fail "$dir/etcd and $dir/etcdctl are there but do not run as version 3.4"
echo "$dir"
