"""Addresses and node ports of services: the ranges that they come from, who holds which, and the api's own service."""
