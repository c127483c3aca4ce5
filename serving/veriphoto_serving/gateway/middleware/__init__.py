"""What happens before a route is called: limits, API keys, uploads, request ids."""
