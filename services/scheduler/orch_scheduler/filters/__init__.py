"""Rules that a node must satisfy, one a file, in the order in which a refusal is attributed."""
