#!/bin/bash
# Runs each fuzz target for a while: fuzz.sh SECONDS [TARGET...]. Needs a nightly toolchain and a C++ compiler; no sanitizer: the code under
# test is safe Rust, panics, overflows, hangs and memory are what is looked for. Findings are left in containerd-rs/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/../../containerd-rs/fuzz"
seconds=${1:-60}; shift || true
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
RUSTFLAGS="$coverage" cargo +nightly build --release --locked --target "$host"
bin=${CARGO_TARGET_DIR:-target}/$host/release
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v '^fuzz$')
export TMPDIR=${FUZZ_TMP:-/dev/shm}
for t in "${targets[@]}"; do
  mkdir -p "corpus/$t" "artifacts/$t"
  echo "== $t, ${seconds}s"
  # Whole paths: a target may change its directory.
  "$bin/$t" "$PWD/corpus/$t" -artifact_prefix="$PWD/artifacts/$t/" -max_total_time="$seconds" \
    -timeout=30 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0 2>&1 | grep -E '^(==|stat::number_of_executed|stat::average|stat::new_units|stat::peak|SUMMARY|thread|ALARM|artifact)' || true
  [ -z "$(ls -A "artifacts/$t")" ] || { echo "findings in containerd-rs/fuzz/artifacts/$t" >&2; exit 1; }
done
