"""Probes: whether a container has started, is alive, is ready."""
