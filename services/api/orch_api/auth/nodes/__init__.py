"""What a node may: only what its own pods need."""
