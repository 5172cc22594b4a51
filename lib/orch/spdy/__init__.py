"""SPDY/3.1 as Kubernetes' clients and container runtimes speak it: its frames, to bytes and back."""
