"""Training's part of the command line."""
