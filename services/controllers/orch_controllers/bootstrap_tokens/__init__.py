"""Bootstrap tokens: expired ones are deleted, the others sign what nodes read before they know the cluster."""
