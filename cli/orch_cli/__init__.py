"""The orch command line."""
