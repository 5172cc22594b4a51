"""Ending pods before the node runs out of memory, disk or process ids, and pods that take more disk than they may."""
