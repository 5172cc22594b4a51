"""Claim protection: a claim that is deleted stays until no pod that is on a node uses it."""
