"""The network: its definition, starting weights, checkpoints, and what makes it train faster."""
