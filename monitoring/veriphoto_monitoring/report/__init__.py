"""Says what the monitor found: JSON, Prometheus, HTML."""
