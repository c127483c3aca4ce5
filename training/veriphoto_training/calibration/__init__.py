"""From scores to an operating point: for a model, and for one shop."""
