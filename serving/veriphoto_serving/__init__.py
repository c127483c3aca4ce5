"""Runs Veriphoto on one machine: the Triton launcher, its self-check and ``veriphoto serve``."""
