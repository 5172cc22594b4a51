"""The scheduler: which node each pod runs on, decided in batches on columns of numbers."""
