"""Containers by Podman: its REST service as a child process, what is asked of it, and how its answers read."""
