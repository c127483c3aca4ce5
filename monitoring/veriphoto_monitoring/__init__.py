"""Drift: knows when the world has moved away from the model."""
