"""What an audit found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from veriphoto_training.evaluation.figure import Figure

MAX_AUROC: Final = 0.55
"""What a tree on metadata alone may reach on what the network sees, and one on looks in what training draws."""
MAX_SHIFT: Final = 0.02
"""By how much balanced accuracy may move when everything is re-encoded."""


State = Literal["holds", "may be chance", "exceeded"]
"""``may be chance``: the figure exceeds its limit, and its interval reaches back to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A figure that must stay below a limit."""

    name: str
    figure: Figure
    limit: float
    advice: str
    """What to do where it does not hold."""

    @property
    def state(self) -> State:
        """What the figure and its interval say; NaN is exceeded."""
        if abs(self.figure.value) <= self.limit:
            return "holds"
        return "may be chance" if max(self.figure.low, -self.figure.high) <= self.limit else "exceeded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortcut:
    """How well metadata alone tells the classes apart."""

    auroc: Figure
    columns: dict[str, float]
    """AUROC of the strongest single columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LooksFound:
    """How well the looks of photos, as training draws them, tell the classes apart."""

    plain: Shortcut
    """Drawn without look weights."""
    balanced: Shortcut
    """Drawn with them."""
    pictures: dict[str, float]
    """How many photos of each class, drawn alike, the plain draw is worth."""
    balanced_pictures: dict[str, float]
    """The same of the balanced draw: the price of balance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copies:
    """Two files with the same picture, or nearly."""

    first: str
    second: str
    exact: bool
    bits: int
    problem: str
    """Why it matters: the other class, the other data set, another group; empty where the group joins them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A picture that the model confidently takes for the other class."""

    path: str
    label: str
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFindings:
    """What the model says about the data."""

    name: str
    threshold: float
    plain: Figure
    """Balanced accuracy on the pictures as they are."""
    reencoded: Figure
    """Balanced accuracy on the same pictures, saved once more."""
    shift: Figure
    """The second minus the first."""
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Everything an audit found."""

    name: str
    fingerprint: str
    pictures: dict[str, int]
    """Readable ones, by class."""
    sources: tuple[tuple[str, str, int], ...]
    """Class, source, pictures."""
    groups: int
    recipe: str
    raw: Shortcut
    """On the files as they are: how much there is to neutralise."""
    aligned: Shortcut
    """On what the network sees."""
    looks: LooksFound
    copies: tuple[Copies, ...]
    broken: Mapping[str, str]
    """Path to reason."""
    model: ModelFindings | None
    limits: tuple[Limit, ...]

    @property
    def holds(self) -> bool:
        """Whether no limit is plainly exceeded."""
        return all(limit.state != "exceeded" for limit in self.limits)

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        body = asdict(self)
        body["limits"] = [{**asdict(limit), "state": limit.state} for limit in self.limits]
        return {"holds": self.holds, **body}
