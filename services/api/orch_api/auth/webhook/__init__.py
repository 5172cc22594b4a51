"""Authorizers outside of the api: the file that names them, when they are asked, and how."""
