"""Scores of pictures as serving computes them, and figures of those scores."""
