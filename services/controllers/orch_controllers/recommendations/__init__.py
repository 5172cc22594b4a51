"""Learns what each workload's containers should request, as VerticalPodAutoscaler's recommender does."""
