"""The controllers service."""
