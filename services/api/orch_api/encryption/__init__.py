"""Objects that are encrypted in the store: Secrets, and whatever else an EncryptionConfiguration names."""
