"""SPDY/3.1 as clients of Kubernetes speak it: connections that carry many streams."""
