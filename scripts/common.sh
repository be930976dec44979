# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where things are, how errors look.

set -eu

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zcipc
me=$(basename "$0")

die() {
	echo "$me: $*" >&2
	exit 1
}

say() {
	echo "$me: $*" >&2
}

# Only one process at a time makes something in build/, until it calls unlock_build or ends.
lock_build() { # what
	mkdir -p "$top/build"
	exec 8>"$top/build/.lock-$1"
	flock 8
}

unlock_build() {
	exec 8>&-
}

# Only one process at a time fills a given part of the cache.
lock_cache() {
	mkdir -p "$cache"
	exec 9>"$cache/.lock-$1"
	flock 9
}
