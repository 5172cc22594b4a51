"""Who may ask for what: identities and the built-in rules."""
