"""Scores photos on this machine without a server: a model version, and processes that run it."""
