"""What the server records about each answer: the record itself, the log on disk, and the same numbers as metrics."""
