#!/usr/bin/env bash
# Runs the tests, all or those that the arguments select: first what needs no cluster, on every core; then whole
# clusters, those with containers beside those without. Each of the two mostly waits, and its tests run one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly NOTHING_SELECTED=5
readonly CONTAINERS="podman or containerd"
failed=0
selected=0

# Runs what its arguments name.
run() {
  local code=0
  .venv/bin/python -m pytest "$@" || code=$?
  count $code
}

# Counts how a part of the tests ended.
count() {
  [ "$1" = $NOTHING_SELECTED ] || selected=1
  [ "$1" = $NOTHING_SELECTED ] || [ "$1" = 0 ] || failed=$1
}

run --numprocesses auto --dist worksteal tests/unit tests/contract tests/conformance "$@"
[ $failed = 0 ] || exit $failed

said=$(mktemp)
set -m # a group of its own can be interrupted; what is in the background otherwise ignores that
.venv/bin/python -m pytest tests/e2e -m "not ($CONTAINERS)" "$@" >"$said" 2>&1 &
beside=$!
set +m
trap 'kill -INT -- -$beside || true; wait $beside || true; rm "$said"' EXIT # interrupted
run tests/e2e -m "$CONTAINERS" "$@"
run tests/chaos tests/scale "$@"
code=0
wait $beside || code=$?
cat "$said"
trap - EXIT
rm "$said"
count $code

[ $selected = 1 ] || exit $NOTHING_SELECTED
exit $failed
