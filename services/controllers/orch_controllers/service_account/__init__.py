"""ServiceAccount: every namespace has the account `default`."""
