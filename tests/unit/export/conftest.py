from __future__ import annotations

from version_fixtures import crops, findings, graph, model, network, noise, repository

__all__ = ["crops", "findings", "graph", "model", "network", "noise", "repository"]
