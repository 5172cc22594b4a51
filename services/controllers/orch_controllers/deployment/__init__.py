"""Deployment: replaces the pods of one template by those of the next, within what it may be short or over."""
