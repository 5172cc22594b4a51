"""The controller of stateful sets."""
