"""From a version to production: the registry, publishing, promotion through a gate, rollback and the shadow."""
