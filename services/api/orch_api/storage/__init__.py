"""Objects as bytes: how they are stored, cached, read and relayed to the bus."""
