"""What a node, its pods, containers and volumes use, and the forms in which it is told."""
