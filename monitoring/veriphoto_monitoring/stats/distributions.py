"""The reference: what scores and statistics look like when nothing has moved.

A distribution is kept as a grid: at most ``GRID`` values, and what its distribution function is just under and at each
of them. Testing on the grid is exact there and cautious between. Where only part of a distribution is known (the
quantiles and the histogram of a manifest) the function is known up to bounds, and only what leaves them counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto.errors import DataError
from veriphoto.manifest import PRIOR
from veriphoto_monitoring.input.features import MONITORED, Floats, Monitored, column
from veriphoto_monitoring.stats.prior import estimate_share, rebase

GRID: Final = 512
SCHEMA: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Distribution of a number on a grid of K values: 2 K + 1 cells, under, at and between them."""

    size: int
    values: Floats
    """[K], ascending."""
    lower: Floats
    """[2 K + 1] least value of the distribution function at each cell's end."""
    upper: Floats
    ai: Floats | None = None
    """[2 K + 1] the same among AI-generated pictures, each picture counting by its probability there."""
    inflation: float = 1.0
    """By how much distances of windows exceed those of independent pictures."""

    def cells(self, values: Floats) -> npt.NDArray[np.int32]:
        """Returns the cell of each value, [N]."""
        left, right = np.searchsorted(self.values, values, "left"), np.searchsorted(self.values, values, "right")
        return (left + right).astype(np.int32)

    @property
    def count(self) -> int:
        """Number of cells."""
        return 2 * len(self.values) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Categories:
    """Counts of a category."""

    size: int
    counts: Floats
    ai: Floats | None = None
    """Sums of the probabilities of each category's pictures."""
    inflation: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """Mean of a number."""

    size: int
    mean: float
    variance: float
    inflation: float = 1.0


Distribution = Numbers | Categories | Mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The distributions that windows are compared with."""

    origin: str
    """``baseline`` or ``manifest``."""
    model_version: int
    images: int
    distributions: dict[str, Distribution]
    """By name of what is ``MONITORED``; what the reference does not know is missing and not tested."""
    first: float = 0.0
    """Time of the first picture, seconds since the epoch; 0 where unknown."""
    last: float = 0.0
    prior: float | None = None
    """Share of AI-generated pictures at which the model's probabilities are calibrated."""
    share: float | None = None
    """Estimated share of AI-generated pictures here; None where it is not known."""
    square: float = 0.0
    """Mean of the squared probabilities, at that share."""
    of_validation: bool = False
    """Whether any distribution is of training's validation pictures, no sample of traffic."""

    def for_version(self, version: int) -> Reference:
        """Returns the part that holds for another model version: the pictures, not the scores."""
        if version == self.model_version:
            return self
        inputs = {each.name for each in MONITORED if each.of_input}
        kept = {name: one for name, one in self.distributions.items() if name in inputs}
        return replace(self, distributions=kept, prior=None, share=None)

    def filled_from(self, other: Reference) -> Reference:
        """Returns the reference with what it lacks taken from another one."""
        distributions = {**other.distributions, **self.distributions}
        return replace(self, distributions=distributions, prior=other.prior, of_validation=other.of_validation)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        body = asdict(self)
        for one in body["distributions"].values():
            one.update({key: np.round(v, 7).tolist() for key, v in one.items() if isinstance(v, np.ndarray)})
        return {"schema": SCHEMA, **body}


def from_rows(rows: Floats, times: Floats, model_version: int, prior: float = PRIOR) -> Reference:
    """Makes the reference of a healthy period.

    Args:
        rows: [N, WIDTH] in the order in which they came.
        times: [N] seconds since the epoch.
        model_version: That gave all scores.
        prior: Share of AI-generated pictures at which the probabilities are calibrated.
    """
    probabilities = column(rows, "probability")
    share = estimate_share(probabilities, prior)
    weights = rebase(probabilities, prior, share)
    return Reference(
        origin="baseline",
        model_version=model_version,
        images=len(rows),
        distributions={each.name: _describe(each, rows[:, each.index], weights) for each in MONITORED},
        first=float(times.min()),
        last=float(times.max()),
        prior=prior,
        share=share,
        square=float((weights**2).mean()),
    )


def from_json(body: Mapping[str, Any]) -> Reference:
    """Reads what ``to_json`` wrote.

    Raises:
        DataError: If it is something else.
    """
    try:
        if body["schema"] != SCHEMA:
            raise DataError(f"a baseline of schema {body['schema']}, this release reads {SCHEMA}; make it anew")
        kinds = {each.name: {"number": Numbers, "mean": Mean, "category": Categories}[each.kind] for each in MONITORED}
        distributions = {name: kinds[name](**_arrays(one)) for name, one in body["distributions"].items()}
        rest = {key: value for key, value in body.items() if key not in {"schema", "distributions"}}
        return Reference(**rest, distributions=distributions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"no baseline: {type(error).__name__}: {error}; make it anew") from error


def _arrays(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.array(value, dtype=np.float64) if isinstance(value, list) else value for key, value in body.items()}


def _describe(each: Monitored, values: Floats, weights: Floats) -> Distribution:
    if each.kind == "mean":
        return Mean(size=len(values), mean=float(values.mean()), variance=float(values.var()))
    if each.kind == "category":
        index, k = values.astype(np.intp), len(each.categories)
        counts, ai = (np.bincount(index, w, k).astype(np.float64) for w in (None, weights))
        return Categories(size=len(values), counts=counts, ai=ai)
    distinct = np.unique(values)
    if len(distinct) > GRID:
        distinct = np.unique(np.quantile(values, np.linspace(0.0, 1.0, GRID), method="inverted_cdf"))
    empty = np.empty(0)
    grid = Numbers(size=len(values), values=distinct, lower=empty, upper=empty)
    cells = grid.cells(values)
    function, ai = (np.cumsum(np.bincount(cells, w, grid.count).astype(np.float64)) for w in (None, weights))
    function, ai = function / function[-1], ai / max(float(ai[-1]), 1e-12)
    return replace(grid, lower=function, upper=function, ai=ai)
