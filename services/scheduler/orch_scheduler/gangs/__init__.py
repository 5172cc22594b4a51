"""Groups of pods that start together or not at all (PodGroup, scheduling.x-k8s.io/v1alpha1)."""
