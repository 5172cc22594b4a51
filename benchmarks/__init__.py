"""What orch can do on this machine: run `python -m benchmarks`, or one part of it with its name."""
