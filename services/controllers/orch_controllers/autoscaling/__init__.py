"""Keeps the number of a workload's pods to what its HorizontalPodAutoscaler's metrics ask for."""
