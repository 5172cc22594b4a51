"""Containers by the Container Runtime Interface (CRI), version 1: containerd, CRI-O."""
