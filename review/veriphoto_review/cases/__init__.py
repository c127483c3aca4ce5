"""What a case is, what becomes one, and how people decide it."""
