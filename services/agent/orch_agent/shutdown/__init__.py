"""The end of a node that goes down on purpose: its pods end in the order of their priorities, and it is told."""
