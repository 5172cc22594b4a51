"""The node's side of the pod network."""
