"""Fits a version's second opinion: features of every picture, a probe, the rule and its cuts."""
