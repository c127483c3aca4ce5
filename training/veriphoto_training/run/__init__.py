"""A training run from its options to a calibrated checkpoint."""
