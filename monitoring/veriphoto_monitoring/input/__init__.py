"""What the monitor reads: the prediction log and the server's metrics, as columns of features."""
