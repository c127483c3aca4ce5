"""Reports the monitor's results as JSON, Prometheus metrics and HTML."""
