"""PodDisruptionBudget: says how many pods may go now."""
