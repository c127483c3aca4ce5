"""The routes: each reads, asks the desk, and words the answer."""
