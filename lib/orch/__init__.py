"""What every orch service stands on: objects, store, bus and the reconcile runtime."""
