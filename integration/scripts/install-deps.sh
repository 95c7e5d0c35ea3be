#!/bin/bash
# Install what a step needs on Debian 12, from the distribution's packages, and say what is done.
# usage: install-deps.sh build | test | demo | bench ...
set -euo pipefail

say() { printf '==> %s\n' "$*"; }

packages=()
target= nextest= deny=
for step in "$@"; do
  case $step in
    build) packages+=(gcc libc6-dev make); target=1 ;;
    demo) packages+=(runc busybox-static docker-registry iproute2 procps) ;;
    test)
      packages+=(runc crun criu containerd busybox-static docker-registry iproute2 procps btrfs-progs util-linux skopeo umoci openssl apache2-utils
        e2fsprogs erofs-utils fuse3 fuse-overlayfs)
      nextest=1 deny=1
      ;;
    bench) packages+=(runc containerd busybox-static docker-registry iproute2 procps) ;;
    *) echo "install-deps.sh: unknown step '$step'" >&2; exit 2 ;;
  esac
done

missing=()
for p in $(printf '%s\n' "${packages[@]}" | sort -u); do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "need root to install: ${missing[*]}" >&2; exit 1; }
  say "installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
  # Only the programs are wanted: their services must not be started on this machine.
  policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy && made=1; fi
  rc=0
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || rc=$?
  [ -z "$made" ] || rm -f $policy
  [ $rc = 0 ] || { echo "apt-get install failed: ${missing[*]}" >&2; exit $rc; }
fi

command -v cargo >/dev/null || { echo "cargo not found: install Rust 1.95 or newer first (rustup.rs)" >&2; exit 1; }
if [ -n "$target" ]; then
  t=$(uname -m)-unknown-linux-musl
  if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$t" ]; then
    say "adding the Rust target $t (for the static shim)"
    rustup target add "$t"
  fi
fi
if [ -n "$nextest" ] && ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest"
  cargo install cargo-nextest --locked --version 0.9.143
fi
if [ -n "$deny" ] && ! cargo deny --version >/dev/null 2>&1; then
  say "installing cargo-deny"
  cargo install cargo-deny --locked --version 0.20.2
fi
