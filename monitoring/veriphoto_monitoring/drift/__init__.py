"""Detects drift and stores the results."""
