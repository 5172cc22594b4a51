#!/usr/bin/env bash
# The demo: `up` starts a local cluster with two Podman nodes and runs the README's Deployment on it; `clean` removes
# every trace.
set -euo pipefail
cd "$(dirname "$0")/.."
state=.orch
images=.orch-images
export KUBECONFIG=$state/kubeconfig KUBECACHEDIR=$state/cache
kubectl=.venv/bin/kubectl

heading() { printf '\n\033[1m%s\033[0m\n' "$*"; }

fetch() {
  cat <<'PYTHON'
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=10) as page:
    print("\n".join(page.read().decode().splitlines()[:25]))
PYTHON
}

up() {
  local mirror options=()
  mirror=$(tools/images/prepare.sh $images)
  [ -z "$mirror" ] || options+=(--mirror "$mirror")
  [ -z "${PORT:-}" ] || options+=(--port "$PORT")
  heading "Starting a cluster of two nodes"
  .venv/bin/orch status --state $state >/dev/null ||
    .venv/bin/orch up --state $state --nodes 2 --runtime podman --detach "${options[@]}"
  .venv/bin/orch status --state $state

  heading "kubectl apply -f examples/deployment.yaml"
  $kubectl apply -f examples/deployment.yaml
  $kubectl rollout status deployment/web-app --timeout=240s

  heading "kubectl get nodes,deployments,pods -o wide"
  $kubectl get nodes,deployments,pods -o wide

  local pod node address
  read -r pod node address < <($kubectl get pods -l app=web \
    -o jsonpath='{.items[0].metadata.name} {.items[0].spec.nodeName} {.items[0].status.podIP}{"\n"}')
  heading "GET http://$address/ (pod $pod, asked from within $node)"
  .venv/bin/orch enter --state $state "$node" -- "$PWD/.venv/bin/python" -c "$(fetch)" "http://$address/"

  heading "What to try next"
  cat <<TEXT
  export KUBECONFIG=$PWD/$state/kubeconfig PATH=$PWD/.venv/bin:\$PATH
  kubectl scale deployment web-app --replicas=5
  kubectl logs deployment/web-app
  kubectl exec -it $pod -- sh
  kubectl delete pod $pod   # and watch its successor: kubectl get pods --watch
  orch status --state $PWD/$state      # the cluster's own processes
  make demo-clean                      # removes it all
TEXT
}

clean() {
  if [ -x .venv/bin/orch ] && [ -e $state ]; then
    .venv/bin/orch down --state $state --purge
  fi
  rm -rf $images
}

case "${1:-}" in
  up | clean) "$1" ;;
  *) echo "usage: tools/demo.sh up|clean" >&2; exit 2 ;;
esac
