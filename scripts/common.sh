# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where things are, how errors look.

set -eu

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zcipc
me=$(basename "$0")
kernels="6.1 6.12 new rt debug debug-new arm64 arm64-16k"

# The newest kernel that all of this has been tried with.
newest_tested=$(sed -n 's/^newest=//p' "$top/zcipc/base/conftest.sh")

die() {
	echo "$me: $*" >&2
	exit 1
}

say() {
	echo "$me: $*" >&2
}

# What programs and the debug kernel are built with, which is also the name of the package. Counts
# of instructions depend on it: so where there is a choice it is always the same.
debian=$([ ! -e /etc/os-release ] || . /etc/os-release; echo "${VERSION_CODENAME-}")
case $debian in
bookworm) cc=gcc-12 cxx=g++-12 ;;
*)        cc=gcc cxx=g++ ;;
esac

is_kernel() { # name
	case " $kernels " in *" $1 "*) [ -n "$1" ] ;; *) false ;; esac
}

# The compiler that a kernel was built with, says its configuration.
kernel_cc_wanted() { # build folder
	local conf=$1/include/config/auto.conf name
	# Its own name is not what it begins with: "Debian clang version ..."
	if grep -qsx CONFIG_CC_IS_CLANG=y "$conf"; then
		echo clang
		return
	fi
	name=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\?\([^ "]*\).*/\1/p' "$conf" 2>/dev/null || true)
	basename "${name:-$cc}"
}

# The one to build its modules with: the same, or if that is not there another version of it, of
# which kbuild warns. What clang has built only clang can build for.
kernel_cc() { # build folder, and a command that runs others where the compiler is to be
	local kdir=$1 want name
	shift
	want=$(kernel_cc_wanted "$kdir")
	for name in "$want" "${want%-[0-9]*}" "$cc"; do
		"$@" sh -c 'command -v "$0"' "$name" >/dev/null || continue
		[ "$want" != clang ] || [ "$name" = clang ] || continue
		echo "$name"
		return
	done
	die "no compiler for $kdir: it wants $want"
}

warn_untested() { # release
	dpkg --compare-versions "$1" lt "$newest_tested.999" ||
		say "kernel $1 is newer than $newest_tested: nobody has tried zcipc on it yet"
}

# The mirror that apt is configured to take Debian from, or its security updates.
mirror() { # "Debian" or "Debian-Security"
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Label: $1" |
		head -n 1
}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Sets as_root to what a command has to begin with to be run as root, if that is to be had.
can_be_root() {
	as_root=
	[ "$(id -u)" != 0 ] || return 0
	as_root="sudo -n"
	sudo -n true 2>/dev/null
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
