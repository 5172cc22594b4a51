"""The controller of replication controllers."""
