"""TTL after finished: deletes jobs some time after their end."""
