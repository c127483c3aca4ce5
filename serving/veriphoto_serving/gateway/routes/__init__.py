"""The routes: each reads a request, calls the services, and formats the answer."""
