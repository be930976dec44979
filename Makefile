# SPDX-License-Identifier: GPL-2.0
#
# zcipc: zero-copy IPC for Linux. "make help" lists the targets.
#
# Nothing is built here: the scripts fetch what they need and leave everything in build/.

KVER    ?= $(shell uname -r)
FILE    ?=
PREFIX  ?= /usr/local
DESTDIR ?=

# What uname -r says there.
KERNELS    = 6.1 6.12 new rt debug debug-new arm64 arm64-16k
RELEASE    = $(if $(filter $(KERNELS),$(KVER)),$(shell scripts/kernel $(KVER) \
	     | xargs -I{} cat {}/release),$(KVER))
MODULE_DIR = $(DESTDIR)/lib/modules/$(RELEASE)/updates
HEADER     = $(DESTDIR)$(PREFIX)/include/linux/zcipc.h
MANPAGE    = $(DESTDIR)$(PREFIX)/share/man/man4/zcipc.4

.PHONY: module run demo check check-long dkms-check test stress breakages icount latency bench \
	bench-native vm install uninstall clean help

module: ## the module (default), for this kernel or KVER=6.1|6.12|new|debug|arm64...|RELEASE
	@scripts/build-module $(KVER) $(if $(W),W=$(W)) $(if $(C),C=$(C))

run: ## everything, up to the demo in a VM (FILE=... to hand over; KERNEL=6.1|6.12)
	@scripts/run $(FILE)

check: ## everything that proves it: style, builds, tests on all kernels
	@scripts/check

check-long: ## what takes hours, too: all variants on all kernels, random tests, breakages
	@scripts/check --long

test: ## the selftests in a VM, on KERNEL=6.1|6.12|new|rt|debug (6.12), TESTS=... for some of them
	@scripts/selftests $(or $(KERNEL),6.12) $(TESTS)

icount: ## instructions that a transfer costs, counted in a VM
	@scripts/icount

latency: ## what a user's calls take while a stranger does its worst, counted in a VM
	@scripts/latency

bench: ## zcipc beside what Linux has: figures, plots (KERNEL=6.1|6.12, MODE=icount|mttcg)
	@scripts/bench $(if $(KERNEL),--kernel $(KERNEL)) $(if $(MODE),--mode $(MODE))

bench-native: ## the same on this machine, which has the module loaded
	@scripts/bench --native

dkms-check: ## DKMS builds, installs and removes the module, for KERNEL=... (6.1 6.12 new arm64)
	@scripts/dkms-check $(KERNEL)

stress: ## the tests that take long, on KERNEL (ZCIPC_SECONDS=N: each random one for so long)
	@scripts/selftests $(or $(KERNEL),6.12) zcipc_random zcipc_model zcipc_actors zcipc_limits \
		zcipc_fail_nth zcipc_adopted zcipc_meanwhile zcipc_load

breakages: ## break the module on purpose, one way after the other: a test must fail for each
	@scripts/breakages $(ONLY)

vm: ## a shell in a VM with the module loaded (KERNEL=6.1|6.12|new|rt|debug|arm64...; "exit": end)
	@scripts/vm-run --kernel $(or $(KERNEL),6.12) --interactive -- sh -l

install: module ## module for KVER, header and man page, on this machine (as root)
	install -D -m 644 build/$(RELEASE)/zcipc.ko $(MODULE_DIR)/zcipc.ko
	install -D -m 644 include/uapi/linux/zcipc.h $(HEADER)
	install -D -m 644 tools/man/zcipc.4 $(MANPAGE)
	$(if $(DESTDIR),,depmod $(RELEASE))

uninstall: ## take away what install put there (as root)
	rm -f $(MODULE_DIR)/zcipc.ko $(HEADER) $(MANPAGE)
	$(if $(DESTDIR),,depmod $(RELEASE))

clean: ## remove build/ (the cache of kernels stays)
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
