"""Endpoints: where each service with a selector is served, all in one object."""
