"""What happens to a training picture before the network sees it."""
