"""Canaries: pictures whose truth is known, scored again and again."""
