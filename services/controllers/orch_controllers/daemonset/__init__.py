"""The controller of daemon sets."""
