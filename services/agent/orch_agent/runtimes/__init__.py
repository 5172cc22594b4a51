"""Container runtimes: what a node agent runs containers with."""
