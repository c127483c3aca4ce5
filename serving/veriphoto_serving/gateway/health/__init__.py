"""Watches Triton and the drift monitor, and restarts Triton."""
