"""Data sets: reading, splitting, and the facts by which copies are found."""
