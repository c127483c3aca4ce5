"""Runs one Triton on this machine: self-check, options, launcher, supervisor."""
