"""Preferences among the nodes that a pod may run on, one a file; each gives 0 to 100 a node."""
