"""The routes: each reads, asks the services, and words the answer."""
