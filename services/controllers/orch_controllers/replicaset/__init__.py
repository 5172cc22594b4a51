"""ReplicaSet: keeps as many pods of a template as asked."""
