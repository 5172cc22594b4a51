"""Pods on this node: which are assigned, and how each is brought to life, kept alive and ended."""
