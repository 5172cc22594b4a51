#!/bin/sh
# Makes a container fit to be a node, then becomes the init process above the command that is given.
set -eu

# cgroup v2: a group that has processes cannot hand controllers down to groups below it, which are the pods'. So what
# runs already, which is this shell, moves to a group of its own. (With v1 there is nothing to do.)
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p /sys/fs/cgroup/orch-agent
  echo $$ >/sys/fs/cgroup/orch-agent/cgroup.procs
  sed 's/[^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi

# What containers leave behind when they end falls to process 1, which has to bury it: hence an init.
exec tini -- "$@"
