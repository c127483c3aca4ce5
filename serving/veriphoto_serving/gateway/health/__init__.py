"""Knows how Triton and the drift monitor are, and brings Triton back."""
