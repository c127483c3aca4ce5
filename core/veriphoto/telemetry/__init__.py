"""What a process says about itself: log lines, and traces of requests."""
