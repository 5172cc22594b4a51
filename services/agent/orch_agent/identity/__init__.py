"""The node's own identity: how it gets its certificate and its key for the bus, and keeps the certificate valid."""
