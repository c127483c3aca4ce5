from __future__ import annotations

from version_fixtures import crops, findings, graph, ground, model, network, noise, prepared, repository, server

__all__ = ["crops", "findings", "graph", "ground", "model", "network", "noise", "prepared", "repository", "server"]
