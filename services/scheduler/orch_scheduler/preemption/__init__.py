"""Preemption: room for a pod of higher priority at the cost of others, as few and as little as possible."""
