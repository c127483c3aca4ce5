"""Ways out: data sets for training and calibration, and what other tools read."""
