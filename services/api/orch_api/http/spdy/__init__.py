"""SPDY/3.1 as clients of Kubernetes speak it: frames, and connections that carry many streams."""
