#!/usr/bin/env bash
# Runs the tests, all or those that the arguments select: first what needs no cluster, on every core, then whole
# clusters one at a time, since their tests wait for what takes a machine's time.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly NOTHING_SELECTED=5

run() {
  local code=0
  .venv/bin/python -m pytest "$@" || code=$?
  [ $code = $NOTHING_SELECTED ] || [ $code = 0 ] || exit $code
  codes+=("$code")
}

codes=()
run --numprocesses auto --dist worksteal tests/unit tests/contract tests/conformance "$@"
run tests/e2e tests/chaos tests/scale "$@"
[ "${codes[*]}" != "$NOTHING_SELECTED $NOTHING_SELECTED" ] || exit $NOTHING_SELECTED
