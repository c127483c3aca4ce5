"""The audit from end to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np

from veriphoto.errors import ImageError
from veriphoto_training.audit.aligned import aligned_metadata
from veriphoto_training.audit.appearance import judge_looks
from veriphoto_training.audit.model_checks import REENCODE_QUALITY, ask_model
from veriphoto_training.audit.result import (
    MAX_AUROC,
    MAX_SHIFT,
    Audit,
    Copies,
    Limit,
    LooksFound,
    ModelFindings,
    Shortcut,
)
from veriphoto_training.audit.shortcuts import separate
from veriphoto_training.data.appearance import Content
from veriphoto_training.data.dataset import LABELS, Dataset, Picture, read_dataset, thin
from veriphoto_training.data.duplicates import Pair, find_pairs
from veriphoto_training.data.facts import Facts, measure_file
from veriphoto_training.data.separation import Features, check_classes
from veriphoto_training.evaluation.figure import Figure
from veriphoto_training.evaluation.intervals import auroc
from veriphoto_training.recipes import Recipe
from veriphoto_training.scoring.metrics import Labels
from veriphoto_training.scoring.scorers import Scorer

T = TypeVar("T")

_SEED: Final = 0


class Track(Protocol):
    """Shows progress while something is gone through."""

    def __call__(self, items: Sequence[T], description: str) -> Iterable[T]:
        """Yields the items."""
        ...


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What to audit."""

    root: Path
    against: Sequence[Path] = ()
    """Other data sets, such as the test set: a copy in one of them is a leak."""
    recipe: Recipe
    """Recipe whose alignment chain is applied."""
    max_per_class: int | None = None
    """Largest number of pictures per class, chosen by hash; None audits all."""
    max_auroc: float = MAX_AUROC
    """Highest AUROC that a tree may reach from metadata alone, on pictures as the network sees them."""
    max_looks: float = MAX_AUROC
    """Highest AUROC that a tree may reach from looks alone, on pictures as the recipe draws them."""
    content: Content | None = None
    """Features to find content in; None takes colours and edges."""
    model: Callable[[], Scorer] | None = None
    """Loads the model whose answers are checked; None checks none."""


@dataclass(frozen=True, slots=True)
class _Item:
    picture: Picture
    home: str
    """The data set it is from."""
    facts: Facts


def run_audit(options: AuditOptions, track: Track) -> tuple[Audit, dict[str, Picture]]:
    """Audits a data set.

    Args:
        options: Data sets, limits and model.
        track: Shows progress.

    Returns:
        The findings, and the readable pictures by path.

    Raises:
        DataError: If the data set cannot be read or is too small.
        ModelError: If the model must not be used.
    """
    scorer = options.model() if options.model else None  # first: a wrong path should not show after minutes
    data = _read(options.root, options.max_per_class)
    items, broken = _measure(data, options.root.name, track)
    own = [item.picture for item in items]
    check_classes(_labels(own), [picture.group for picture in own])
    others = [
        item
        for root in options.against
        for item in _measure(_read(root, options.max_per_class), f"{root.name} (other set)", track)[0]
    ]
    raw = _shortcut(np.stack([item.facts.metadata for item in items]), own)
    aligned = _shortcut(_align(own, options.recipe, track), own)
    looks = judge_looks(own, options.recipe.balance, options.content, lambda chosen: track(chosen, "measuring looks"))
    copies = _copies([*items, *others], len(items))
    model = ask_model(own, scorer, lambda chosen: track(chosen, f"asking {scorer.name}")) if scorer else None
    audit = Audit(
        name=options.root.name,
        fingerprint=Dataset(pictures=tuple(own)).fingerprint,
        pictures={name: sum(picture.label == label for picture in own) for label, name in enumerate(LABELS)},
        sources=_sources(own),
        groups=len({picture.group for picture in own}),
        recipe=options.recipe.name,
        raw=raw,
        aligned=aligned,
        looks=looks,
        copies=copies,
        broken=broken,
        model=model,
        limits=_limits(options, aligned, looks, copies, broken, model),
    )
    return audit, {picture.path: picture for picture in own}


def _read(root: Path, maximum: int | None) -> Dataset:
    data = read_dataset(root)
    return data if maximum is None else Dataset(pictures=tuple(thin(data.pictures, maximum)), broken=data.broken)


def _measure(data: Dataset, home: str, track: Track) -> tuple[list[_Item], dict[str, str]]:
    items = []
    broken = dict(data.broken)
    for picture in track(data.pictures, f"measuring {home}"):
        try:
            items.append(_Item(picture, home, measure_file(picture.data)))
        except ImageError as error:
            broken[picture.path] = error.message
    return items, broken


def _labels(pictures: Sequence[Picture]) -> Labels:
    return np.array([picture.label for picture in pictures], dtype=np.int64)


def _shortcut(features: Features, pictures: Sequence[Picture]) -> Shortcut:
    groups = [picture.group for picture in pictures]
    found = separate(features, _labels(pictures), groups, _SEED)
    return Shortcut(auroc=auroc(_labels(pictures), found.scores, groups), columns=found.single)


def _align(pictures: Sequence[Picture], recipe: Recipe, track: Track) -> Features:
    measure = aligned_metadata(recipe)
    return np.stack(
        [
            measure(picture.data, np.random.default_rng((_SEED, index)))
            for index, picture in enumerate(track(pictures, "aligning"))
        ]
    )


def _copies(items: Sequence[_Item], own: int) -> tuple[Copies, ...]:
    found = [
        _describe(items, pair)
        for pair in find_pairs([item.facts for item in items])
        if min(pair.first, pair.second) < own
    ]
    return tuple(sorted(found, key=lambda copies: (not copies.problem, not copies.exact, copies.bits, copies.first)))


def _describe(items: Sequence[_Item], pair: Pair) -> Copies:
    first, second = items[pair.first], items[pair.second]
    problem = ""
    if first.picture.label != second.picture.label:
        problem = "labelled both real and ai"
    elif first.home != second.home:
        problem = "in both data sets"
    elif first.picture.group != second.picture.group:
        problem = "in different groups: a split may part them"
    return Copies(
        first=first.picture.path,
        second=second.picture.path if second.home == first.home else f"{second.home}: {second.picture.path}",
        exact=pair.exact,
        bits=pair.bits,
        problem=problem,
    )


def _sources(pictures: Sequence[Picture]) -> tuple[tuple[str, str, int], ...]:
    counted = Counter((LABELS[picture.label], picture.source) for picture in pictures)
    return tuple((label, source, count) for (label, source), count in sorted(counted.items()))


def _limits(
    options: AuditOptions,
    aligned: Shortcut,
    looks: LooksFound,
    copies: Sequence[Copies],
    broken: Mapping[str, str],
    model: ModelFindings | None,
) -> tuple[Limit, ...]:
    limits = [
        Limit(
            name="AUROC of metadata alone on what the network sees",
            figure=aligned.auroc,
            limit=options.max_auroc,
            advice="the alignment chain leaves a shortcut: the report names the strongest columns",
        ),
        _count(
            "copies that a split may part, or with two labels",
            sum(bool(one.problem) for one in copies),
            "give copies one group in manifest.csv, or remove them",
        ),
        _count("files that cannot be read", len(broken), "remove them or fetch them again"),
    ]
    balanced = options.recipe.balance_looks > 0
    limits.append(
        Limit(
            name=f"AUROC of looks alone, as training draws {'with' if balanced else 'without'} look weights",
            figure=(looks.balanced if balanced else looks.plain).auroc,
            limit=options.max_looks,
            advice=f"add vivid real and dull AI photos{'' if balanced else ', or train with --set balance_looks=1'}",
        )
    )
    if model is not None:
        advice = "the model reads compression; train with more of it"
        name = f"shift of balanced accuracy when everything is saved again as JPEG q{REENCODE_QUALITY}"
        limits.append(Limit(name=name, figure=model.shift, limit=MAX_SHIFT, advice=advice))
    return tuple(limits)


def _count(name: str, number: int, advice: str) -> Limit:
    return Limit(name=name, figure=Figure(value=number, low=number, high=number), limit=0, advice=advice)
