"""The built-in kinds: per topic a module with the strategies and the declarative entries (`RESOURCES`)."""
