"""The reference that a model version brings in its manifest: what training noted of its validation pictures."""

from __future__ import annotations

import numpy as np

from veriphoto.manifest import PRIOR, DriftReference
from veriphoto.prediction_log.record import as_logged
from veriphoto_monitoring.input.features import MONITORED, Floats, Monitored
from veriphoto_monitoring.stats.budget import LEAST
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Mean, Numbers, Reference


def from_manifest(found: DriftReference, model_version: int) -> Reference:
    """Makes a reference of what training noted about its validation pictures.

    Args:
        found: Quantiles are bounds, not the whole distribution; a manifest of schema 1 knows the score from a
            histogram alone, and neither verdicts nor formats.
        model_version: Version of the manifest.
    """
    size = int(sum(found.score_counts))
    known: dict[str, Distribution] = {}
    if size and len(found.score_edges) > 2:
        edges = np.array(found.score_edges[1:-1])
        function = np.cumsum(found.score_counts)[:-1] / size
        # No probability lies on an edge, so the function is the same under it and at it.
        exact = np.append(np.repeat(function, 2), 1.0)
        known["score"] = Numbers(size=size, values=np.log(edges / (1.0 - edges)), lower=exact, upper=exact)
    for each in MONITORED:
        if size and (one := _noted(each, found, size)) is not None:
            known[each.name] = one
    return Reference(
        origin="manifest",
        model_version=model_version,
        images=size,
        distributions=known,
        prior=PRIOR,
        of_validation=True,
    )


def _noted(each: Monitored, found: DriftReference, size: int) -> Distribution | None:
    """Returns a manifest's distribution of one statistic, if it has one."""
    if each.kind == "category":
        counts = found.counts.get(each.column)
        named = np.array([counts.get(name, 0) for name in each.categories], dtype=np.float64) if counts else None
        return Categories(size=size, counts=named) if named is not None else None
    if each.kind == "mean":
        moments = found.moments.get(each.column)
        # With fewer pictures the variance is too uncertain for tests so far out in the tail.
        return Mean(size=size, mean=moments[0], variance=moments[1]) if moments and size >= LEAST else None
    levels = np.array(found.quantile_levels)
    # A value that many pictures share must be the very number that the log has, or all of them lie beside it.
    quantiles = np.array([as_logged(each.column, value) for value in found.statistics.get(each.column, [])])
    if len(quantiles) != len(levels) or len(levels) < 3:
        return None
    values, first = np.unique(quantiles, return_index=True)
    last = np.append(first[1:], len(levels)) - 1
    return _bounded(values, levels[first], levels[last], size)


def _bounded(values: Floats, below: Floats, at: Floats, size: int) -> Numbers:
    """Builds a grid from levels p with F(v-) <= below and F(v) >= at."""
    lower, upper = np.zeros(2 * len(values) + 1), np.ones(2 * len(values) + 1)
    before = np.concatenate([[0.0], at[:-1]])
    after = np.concatenate([below[1:], [1.0]])
    lower[0:-1:2], upper[0:-1:2] = before, below
    lower[1::2], upper[1::2] = at, after
    lower[-1] = upper[-1] = 1.0
    return Numbers(size=size, values=values, lower=lower, upper=upper)
