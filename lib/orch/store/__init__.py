"""The durable truth: a revisioned key-value store with group commit, watches and leases."""
