"""Canaries: pictures with known labels that are scored regularly."""
