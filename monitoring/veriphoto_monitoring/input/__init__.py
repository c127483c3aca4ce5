"""What the monitor reads: the prediction log and the server's metrics, as rows of numbers."""
