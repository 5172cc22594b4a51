"""Fewer nodes for the same pods, or evener ones: which pods to move, found on a copy of the scheduler's columns."""
