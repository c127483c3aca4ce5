"""Recipes: named functions that return everything a run decides, as one frozen value.

A shop that wants its own recipe writes one more function here; the command line only picks a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from veriphoto.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a training run does to the data and the network.

    Raises:
        ValueError: If a number makes no sense.
    """

    name: str
    crop_size: int = 160
    """Side of a training crop. Smaller than serving's: the head is an average, and smaller crops buy more of them."""
    whole_picture: bool = False
    """Enlarge the whole picture to ``crop_size`` instead of cropping; for data sets of tiny pictures."""
    batch_size: int = 32
    """Pictures a step; each gives one crop, or two with ``two_views``."""
    epochs: int = 8
    learning_rate: float = 6e-4
    head_rate: float = 1.0
    """Learning rate of the head and of the teacher's projection, as a multiple of the others'."""
    frozen_stages: int = 0
    """Number of leading stages (of seven; the stem counts with the first) that keep their starting weights."""
    frozen_norms: bool = False
    """Batch norms keep the statistics of the starting weights."""
    weight_decay: float = 0.02
    warmup_steps: int = 60
    dropout: float = 0.2
    label_smoothing: float = 0.02
    ema_decay: float = 0.998
    two_views: bool = True
    """Also train on a degraded view of every crop."""
    consistency: float = 0.5
    """Weight of the agreement between the two views (cosine of features, symmetric KL of outputs)."""
    align: bool = True
    """Put both classes through the same random rescale, crop and re-encode."""
    colour_share: float = 0.0
    """Share of pictures whose light, white balance and saturation are drawn anew (see ``colours``)."""
    splice_share: float = 0.35
    """Share of crops with a region of another picture of the batch, learned cell by cell (see ``splice``)."""
    teacher_share: float = 0.7
    """Share of the teacher's probability in the target of a picture that it knows; the label has the rest."""
    teacher_features: float = 1.0
    """Weight of the distance between the teacher's features and a projection of the network's."""
    balance: float = 0.5
    """A source of n pictures is drawn in proportion to n ** balance: 1 as it comes, 0 all sources alike."""
    balance_looks: float = 0.0
    """How far photos are weighted so that their looks do not give the class away: 0 not, 1 fully."""
    validation_share: float = 0.08
    """Share of groups kept out of training: they choose the best checkpoint and calibrate."""
    validation_pictures: int = 300
    """At most this many pictures are scored after an epoch."""

    def __post_init__(self) -> None:
        positive = {"crop_size": self.crop_size, "batch_size": self.batch_size, "epochs": self.epochs}
        for field, number in positive.items():
            if number < 1:
                raise ValueError(f"{field} must be at least 1, not {number}")
        if self.crop_size % 32:
            raise ValueError(f"crop_size must be a multiple of the network's stride of 32, not {self.crop_size}")
        if not 0.0 < self.learning_rate < 1.0:
            raise ValueError(f"learning_rate must lie between 0 and 1, not {self.learning_rate}")
        shares = {
            "dropout": self.dropout,
            "label_smoothing": self.label_smoothing,
            "ema_decay": self.ema_decay,
            "colour_share": self.colour_share,
            "splice_share": self.splice_share,
            "balance": self.balance,
            "balance_looks": self.balance_looks,
            "teacher_share": self.teacher_share,
            "validation_share": self.validation_share,
        }
        for field, value in shares.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{field} must lie in 0..1, not {value}")
        if self.consistency and not self.two_views:
            raise ValueError("consistency compares two views; set two_views or consistency=0")


def product() -> Recipe:
    """Product photos: the recipe of the shipped model, for a start from weights that know photos.

    Early layers and batch norms keep what the starting weights know of photos nobody has labelled; with few sources,
    training all layers finds the sources instead (docs/experiments.md).
    """
    return Recipe(
        name="product",
        epochs=4,
        learning_rate=3e-4,
        head_rate=5.0,
        frozen_stages=3,
        frozen_norms=True,
        teacher_share=0.5,
    )


def cifake() -> Recipe:
    """CIFAKE's 32 px pictures: whole, enlarged, without the alignment its single source does not need."""
    return Recipe(
        name="cifake",
        crop_size=96,
        whole_picture=True,
        batch_size=64,
        epochs=10,
        learning_rate=1e-3,
        two_views=False,
        consistency=0.0,
        align=False,
        splice_share=0.0,
        balance=1.0,
        validation_share=0.02,
    )


def smoke() -> Recipe:
    """A run of a few seconds, for tests and to try out a data set; it learns next to nothing."""
    return Recipe(
        name="smoke",
        crop_size=64,
        batch_size=4,
        epochs=2,
        warmup_steps=1,
        validation_share=0.25,
        validation_pictures=8,
    )


RECIPES: Final[dict[str, Callable[[], Recipe]]] = {"product": product, "cifake": cifake, "smoke": smoke}


def get_recipe(name: str) -> Recipe:
    """Returns a recipe by its name.

    Args:
        name: A key of ``RECIPES``.

    Raises:
        UsageError: If there is none.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe '{name}'; choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
