"""ClusterRole aggregation: roles that are made of the rules of others."""
