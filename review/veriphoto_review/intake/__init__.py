"""Ways in: verdicts of scans and of the gateway, as files of any size."""
