#!/usr/bin/env bash
# Brings requirements.lock up to pyproject.toml: every package of every extra, for all supported Pythons, with hashes
# and without the address of any registry. What builds our own package is locked as well, so that nothing is fetched
# outside the lock. Needs uv (`.venv/bin/pip install uv`). Pins that still fit are kept; with --upgrade, all are renewed.
# The images' locks are parts of it: what one service needs, and what builds wheels.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(PATH="$PWD/.venv/bin:$PATH" command -v uv) || { echo "lock: uv is needed: .venv/bin/pip install uv" >&2; exit 1; }
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT
[ ! -e requirements.lock ] || cp requirements.lock "$scratch"
printf 'hatchling\neditables\nsetuptools\n' |
  "$uv" pip compile pyproject.toml - --extra dev --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet --output-file "$scratch" "$@" >/dev/null
{ echo "# Made by tools/lock.sh from pyproject.toml; do not edit."; cat "$scratch"; } >requirements.lock.new
mv requirements.lock.new requirements.lock

part() { # FILE, then what to take: `uv pip compile` arguments; standard input is passed on
  local file=$1
  shift
  { echo "# Made by tools/lock.sh, a part of requirements.lock; do not edit."
    "$uv" pip compile "$@" --universal --python-version 3.11 --generate-hashes --constraint requirements.lock \
      --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
  } >"$file.new"
  mv "$file.new" "$file"
}
for service in api scheduler controllers agent; do
  part services/$service/requirements.lock pyproject.toml --extra $service
done
part cli/requirements.lock pyproject.toml --extra cli
printf 'hatchling\nsetuptools\n' | part tools/wheel.lock -
