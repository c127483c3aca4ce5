"""What the server notes about each answer: the record, the log on the disk, and the same numbers as metrics."""
