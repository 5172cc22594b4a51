"""PodGC: clears away pods that nobody else would."""
