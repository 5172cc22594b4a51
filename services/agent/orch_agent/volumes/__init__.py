"""Volumes of pods: what is mounted for them on the node, kept current while they live, and gone with them."""
