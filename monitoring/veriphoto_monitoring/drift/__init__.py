"""Decides whether the world has moved, and keeps what it knows."""
