"""Runs a command in a pod and asks for its page through a forwarded port, with the official Python client.

    streams.py NAMESPACE POD        prints what both said

A program of its own, since the client leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import sys

from kubernetes import client, config
from kubernetes.stream import portforward, stream


def main(namespace: str, pod: str) -> None:
    config.load_kube_config()
    core = client.CoreV1Api()
    options = {"command": ["echo", "hello"], "stdin": False, "stdout": True, "stderr": True, "tty": False}
    sys.stdout.write(stream(core.connect_get_namespaced_pod_exec, pod, namespace, **options))
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="80")
    connected = forwarded.socket(80)
    connected.settimeout(10)
    connected.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    while piece := connected.recv(4096):
        sys.stdout.write(piece.decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
