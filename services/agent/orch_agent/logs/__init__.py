"""What containers wrote, collected onto the bus."""
