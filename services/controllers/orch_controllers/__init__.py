"""The controllers: each brings one kind of object to what it shall be."""
