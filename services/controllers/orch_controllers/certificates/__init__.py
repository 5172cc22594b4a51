"""Certificates: approves what nodes ask for themselves, signs what is approved, and clears away what is old."""
