"""What stands before every route: limits, keys, uploads, and the request itself."""
