"""Tokens of others' issuers: JWTs that an AuthenticationConfiguration says how to verify and to read."""
