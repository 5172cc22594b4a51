#!/usr/bin/env bash
# Says where images come from. Where Docker Hub cannot be reached, builds those of the demo and the tests from packages
# into the folder that is given, and prints the folder of their registry on the last line; else prints nothing.
# ORCH_OFFLINE=1 or 0 decides without asking the network.
set -euo pipefail
store=$1
here=$(cd "$(dirname "$0")" && pwd)
python=$here/../../.venv/bin/python

docker_hub_answers() {
  "$python" - <<'PYTHON'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=3)
except urllib.error.HTTPError as error:
    sys.exit(error.code != 401)  # "Unauthorized" is how it greets
except OSError:
    sys.exit(1)
PYTHON
}

case "${ORCH_OFFLINE:-}" in
  1) ;;
  0) exit 0 ;;
  *) if docker_hub_answers; then exit 0; fi
     echo "  Docker Hub does not answer: its images are replaced by ones built from packages" >&2 ;;
esac
"$python" "$here/build.py" --store "$store" >&2
echo "$store/registry"
