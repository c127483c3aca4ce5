"""Splits by group, and by whole sources and generators."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from veriphoto.errors import DataError, UsageError
from veriphoto_training.data.dataset import Dataset, Picture, fraction, thin


@dataclass(frozen=True, kw_only=True)
class Split:
    """Three parts of a data set that share no group."""

    train: tuple[Picture, ...]
    validation: tuple[Picture, ...]
    """Other groups of the sources in ``train``."""
    holdout: tuple[Picture, ...]
    """Whole sources and generators that ``train`` has never seen."""


def split_dataset(
    pictures: Sequence[Picture],
    validation_share: float,
    holdout_sources: Sequence[str] = (),
    holdout_generators: Sequence[str] = (),
    seed: int = 0,
) -> Split:
    """Splits a data set.

    A group with one picture in the hold-out goes there whole, so that no near-duplicate of it is trained on.

    Args:
        pictures: The data set.
        validation_share: Share of the remaining groups that go to ``validation``, chosen by hash.
        holdout_sources: Names or patterns (``sdxl*``) of sources to leave out; ``real/shoes`` is one class.
        holdout_generators: The same for generators.
        seed: Random seed for the choice of validation groups.

    Returns:
        The split.

    Raises:
        DataError: If a pattern matches nothing or a class is left without training pictures.
    """
    names = [(picture, _names(picture), picture.generator) for picture in pictures]
    for pattern in holdout_sources:
        if not any(matches(own, [pattern]) for _, own, _ in names):
            raise DataError(f"no source matches '{pattern}'")
    for pattern in holdout_generators:
        if not any(matches([generator], [pattern]) for _, _, generator in names):
            raise DataError(f"no generator matches '{pattern}'")
    left_out = {
        picture.group
        for picture, own, generator in names
        if matches(own, holdout_sources) or (generator and matches([generator], holdout_generators))
    }
    rest = [picture for picture in pictures if picture.group not in left_out]
    kept = {picture.group for picture in rest if fraction(picture.group, f"validation{seed}") < validation_share}
    split = Split(
        train=tuple(picture for picture in rest if picture.group not in kept),
        validation=tuple(picture for picture in rest if picture.group in kept),
        holdout=tuple(picture for picture in pictures if picture.group in left_out),
    )
    if len({picture.label for picture in split.train}) < 2:
        raise DataError("after the split one class has no training pictures; leave out less, or add data")
    return split


def thinned(split: Split, maximum: int) -> Split:
    """Limits the pictures of each class that a run trains and validates on.

    After the split, not before: a group is left out for any of its pictures, also one that would have been dropped.

    Args:
        split: The split of the whole data set.
        maximum: Largest number of pictures of each class, ``train`` and ``validation`` together.

    Returns:
        The split, with its hold-out unchanged.
    """
    kept = {picture.path for picture in thin([*split.train, *split.validation], maximum)}
    train, validation = (
        tuple(picture for picture in part if picture.path in kept) for part in (split.train, split.validation)
    )
    return replace(split, train=train, validation=validation)


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """How a training run split its data, as its checkpoint says."""

    fingerprint: str
    """Identifies the data set."""
    validation_share: float
    holdout_sources: tuple[str, ...]
    holdout_generators: tuple[str, ...]
    seed: int

    @classmethod
    def read(cls, training: Mapping[str, Any]) -> SplitRecord:
        """Reads it from a checkpoint's metadata.

        Raises:
            UsageError: If the checkpoint does not say what its run left out.
        """
        try:
            return cls(
                fingerprint=str(training["data_fingerprint"]),
                validation_share=float(training["recipe"]["validation_share"]),
                holdout_sources=tuple(training["holdout_sources"]),
                holdout_generators=tuple(training["holdout_generators"]),
                seed=int(training["seed"]),
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"the checkpoint does not say what its run left out ({error})") from error

    def split(self, data: Dataset) -> Split:
        """Repeats the run's split: what it trained on, and what it kept out.

        Args:
            data: The data set that the run was given.

        Raises:
            DataError: If it is another data set.
        """
        if data.fingerprint != self.fingerprint:
            raise DataError(
                "these are not the data of the run (the fingerprint differs), so what it kept out cannot be told; "
                "name the data set that it was given"
            )
        return split_dataset(
            data.pictures, self.validation_share, self.holdout_sources, self.holdout_generators, self.seed
        )


def unseen(data: Dataset, training: Mapping[str, Any]) -> tuple[Sequence[Picture], str]:
    """Leaves out what a run was trained on.

    Args:
        data: Any data set.
        training: Metadata of the run's checkpoint.

    Returns:
        The pictures (of the run's own data set its hold-out and validation parts, of any other all of them), and a
        description of them.

    Raises:
        UsageError: If the checkpoint does not say what its run left out.
    """
    record, short = SplitRecord.read(training), data.fingerprint[:12]
    if data.fingerprint != record.fingerprint:
        return data.pictures, f"all of a data set that is not the run's, {short}"
    split = record.split(data)
    return (*split.holdout, *split.validation), f"kept out of training, {short}"


def _names(picture: Picture) -> list[str]:
    return [picture.source, f"{'ai' if picture.label else 'real'}/{picture.source}"]


def matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Returns whether one of the names fits one of the patterns, case and all.

    Args:
        names: Names of one thing, such as a source.
        patterns: Shell patterns (``sdxl*``).
    """
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
