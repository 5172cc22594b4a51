"""ServiceCIDR: says that a range of service addresses is in use, and keeps it for as long as addresses of it are."""
