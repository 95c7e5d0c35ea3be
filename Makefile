# containerd-rs: see README.md. Everything runs as root on Debian 12 with Rust and make.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MUSL := $(shell uname -m)-unknown-linux-musl
DEPS := integration/scripts/install-deps.sh
DIST := target/dist
PREFIX ?= /usr/local
DESTDIR ?=
export CARGO_TERM_COLOR ?= auto

.PHONY: help build dist demo test lint unit bench soak fuzz install clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make build    the three release binaries in target/dist/ (the shim static, for the musl target)
build:
	@$(DEPS) build
	$(MAKE) --no-print-directory dist

dist:
	@cargo build --release --locked -p containerd-rs -p ctr-rs
	cargo build --profile shim --locked -p shim-runc-v2 --target $(MUSL)
	mkdir -p $(DIST)
	install -m 755 target/release/containerd-rs target/release/ctr-rs $(DIST)/
	install -m 755 target/$(MUSL)/shim/containerd-shim-runc-v2 $(DIST)/
	ls -l $(DIST)

## make demo     the main job by itself: build, boot, pull, run, kill the daemon, live on, clean up
demo:
	@$(DEPS) build demo
	$(MAKE) --no-print-directory dist
	cargo build --release --locked -p integration --bin lab
	integration/scripts/demo.sh $(DIST) target/release/lab

## make test     everything CI runs: fmt, clippy, cargo deny, docs, unit, contract and integration tests
test:
	@$(DEPS) build test
	$(MAKE) --no-print-directory lint dist unit

lint:
	@cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo deny --offline check licenses bans sources
	if ! timeout 60 cargo deny check advisories; then
	  if cargo deny --offline check advisories >/dev/null 2>&1; then echo "advisories: the database could not be refreshed; the copy at hand was used"
	  elif [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ] && [ -n "$$(ls -A "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" 2>/dev/null | grep -v lock)" ]; then echo "advisories: a crate in the tree has one" >&2; exit 1
	  else echo "advisories: NOT CHECKED, the advisory database cannot be reached from here"; fi
	fi
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

unit:
	@export CONTAINERD_RS_DIST=$(CURDIR)/$(DIST)
	cargo nextest run --workspace --all-features --locked --no-run
	sync # what the build wrote shall not hold up the tests' own fsyncs
	cargo nextest run --workspace --all-features --locked $(if $(CI),--profile ci)
	cargo test --doc --workspace --locked --quiet

## make bench    the side-by-side benchmark against Debian's containerd, interleaved in one run
bench:
	@$(DEPS) build bench
	$(MAKE) --no-print-directory dist
	cargo build --release --locked -p integration --bin bench
	CONTAINERD_RS_DIST=$(CURDIR)/$(DIST) target/release/bench

## make soak     the shim after 100 000 execs and 1 000 000 calls, and 50 idle ones (SOAK_EXECS, SOAK_CALLS, SOAK_IDLE, SOAK_REST; see shim-runc-v2/tests/soak.rs)
soak:
	@$(DEPS) build demo
	$(MAKE) --no-print-directory dist
	export SHIM_UNDER_TEST=$(CURDIR)/$(DIST)/containerd-shim-runc-v2 SOAK_STRICT=1
	export SOAK_EXECS=$${SOAK_EXECS:-100000} SOAK_CALLS=$${SOAK_CALLS:-1000000} SOAK_IDLE=$${SOAK_IDLE:-50} SOAK_REST=$${SOAK_REST:-10}
	cargo test --locked -p shim-runc-v2 --test soak -- --nocapture --test-threads 1

## make fuzz     each fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain
fuzz:
	@integration/scripts/fuzz.sh $(or $(FUZZ_SECONDS),60) $(FUZZ_TARGETS)

## make install  the binaries, systemd unit, man pages and completions (PREFIX, DESTDIR; LINKS=1 adds containerd and ctr as links)
install:
	@test -x $(DIST)/containerd-rs || $(MAKE) --no-print-directory build
	integration/scripts/install.sh "$(DIST)" "$(DESTDIR)" "$(PREFIX)" "$(LINKS)"

clean:
	@cargo clean
