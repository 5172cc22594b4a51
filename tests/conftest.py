"""What all tests have in common."""

pytest_plugins = ("cluster_fixtures",)
