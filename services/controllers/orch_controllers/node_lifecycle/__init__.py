"""Node lifecycle: notices silent nodes, taints them, and evicts what does not tolerate that."""
