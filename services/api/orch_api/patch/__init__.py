"""The three forms of patches. Each `apply` returns a new document that shares nothing with what it was given."""
