"""States that stateful sets and daemon sets can return to."""
