"""Roles and bindings: what they permit, to whom, and who may grant it."""
