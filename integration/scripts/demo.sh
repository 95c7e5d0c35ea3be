#!/bin/bash
# The main job end to end: a registry on loopback, our daemon in a private root, an image pulled over HTTP, a container run
# by runc under our shim, the daemon killed, the container living on and found again by the next daemon. Cleans up.
# usage: demo.sh DIST LAB
set -euo pipefail
dist=$(cd "$1" && pwd)
lab=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
work=$(mktemp -d /tmp/crs-demo-XXXXXX)
registry_pid= daemon_pid=
export CONTAINERD_ADDRESS=$work/c.sock
ctr=$dist/ctr-rs

say() { printf '\n==> %s\n' "$*"; }
run() { printf '  $ %s\n' "$*"; "$@"; }
fail() { echo "demo: $*" >&2; [ ! -e "$work/daemon.log" ] || tail -20 "$work/daemon.log" >&2; exit 1; }

clean() {
  set +e
  for id in $("$ctr" containers ls -q 2>/dev/null); do
    "$ctr" tasks kill -s SIGKILL "$id" >/dev/null 2>&1
    "$ctr" tasks rm -f "$id" >/dev/null 2>&1
    "$ctr" containers rm "$id" >/dev/null 2>&1
  done
  for pid in $daemon_pid $registry_pid; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  awk -v d="$work" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT

boot() {
  "$dist/containerd-rs" --config "$work/config.toml" >>"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  for _ in $(seq 500); do
    "$ctr" version >/dev/null 2>&1 && return
    kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended"
    sleep 0.02
  done
  fail "the daemon did not answer"
}

[ "$(id -u)" = 0 ] || fail "must run as root"
cat >"$work/config.toml" <<T
version = 3
root = "$work/root"
state = "$work/state"
[grpc]
  address = "$CONTAINERD_ADDRESS"
T

say "a registry on loopback, and an image made from this machine's busybox pushed to it"
port=$("$lab" port)
mkdir "$work/registry"
cat >"$work/registry.yml" <<T
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
T
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
image=
for _ in $(seq 200); do
  image=$("$lab" push "127.0.0.1:$port" demo/busybox latest 2>/dev/null) && break
  sleep 0.05
done
[ -n "$image" ] || fail "the registry did not take the image"
echo "  $image"

say "the daemon, with its root in $work"
boot
run "$ctr" version
grep 'successfully booted' "$work/daemon.log" | tail -1 | sed 's/^/  /'

say "pull, and run one command"
run "$ctr" images pull "$image"
run "$ctr" images ls
start=$(date +%s%N)
run "$ctr" run --rm "$image" hello /bin/echo "hello from a container"
echo "  ($((($(date +%s%N) - start) / 1000000)) ms)"
code=0; run "$ctr" run --rm "$image" seven sh -c 'exit 7' || code=$?
[ "$code" = 7 ] || fail "exit status $code instead of 7"
echo "  exit status $code"

say "a container that goes on: it counts into a file"
run "$ctr" run -d "$image" counter sh -c 'i=0; while :; do i=$((i+1)); echo $i > /tmp/count; usleep 50000; done'
run "$ctr" tasks ls
pid=$("$ctr" tasks ls | awk '$1 == "counter" { print $2 }')
count() { cat "/proc/$pid/root/tmp/count" 2>/dev/null || echo 0; }
for _ in $(seq 100); do [ "$(count)" -gt 2 ] 2>/dev/null && break; sleep 0.05; done

say "kill -9 of the daemon (pid $daemon_pid)"
kill -9 "$daemon_pid"; wait "$daemon_pid" 2>/dev/null || true
before=$(count)
for _ in $(seq 100); do [ "$(count)" -gt "$before" ] 2>/dev/null && break; sleep 0.05; done
after=$(count)
[ "$after" -gt "$before" ] || fail "the container stopped counting"
echo "  no daemon runs; the container counted on from $before to $after"

say "the next daemon finds it running"
boot
run "$ctr" tasks ls
"$ctr" tasks ls | grep -q "^counter *$pid *RUNNING" || fail "the container is not listed as running with pid $pid"
run "$ctr" tasks exec --exec-id look counter cat /tmp/count
run "$ctr" tasks kill -s SIGKILL counter
for _ in $(seq 200); do "$ctr" tasks ls | grep -q '^counter .*STOPPED' && break; sleep 0.02; done
echo '  $ ctr-rs tasks rm counter'
said=$("$ctr" tasks rm counter 2>&1) || true
echo "  $said"
[[ $said == *137* ]] || fail "the exit status of the killed container is not 137"
run "$ctr" containers rm counter

say "clean up"
kill "$daemon_pid"; wait "$daemon_pid" 2>/dev/null || true
if pgrep -f "containerd-shim.*$CONTAINERD_ADDRESS" >/dev/null; then fail "a shim was left behind"; fi
if grep -q "$work" /proc/self/mountinfo; then fail "a mount was left behind"; fi
echo "  no shim, no mount left"
say "demo: ok"
