"""Pictures that a training run has not been trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from veriphoto.errors import UsageError
from veriphoto_training.data import Dataset, Picture
from veriphoto_training.splits import split_again


def unseen(data: Dataset, training: Mapping[str, Any]) -> tuple[Sequence[Picture], str]:
    """Leaves out what a run was trained on.

    Args:
        data: Any data set.
        training: What the run wrote into its checkpoint.

    Returns:
        All of another data set; of the run's own the hold-out and the validation part. And what they are, in words.

    Raises:
        UsageError: If the checkpoint does not say what its run left out.
    """
    short = data.fingerprint[:12]
    try:
        if data.fingerprint != training["data_fingerprint"]:
            return data.pictures, f"all of a data set that is not the run's, {short}"
        split = split_again(data.pictures, training)
    except (KeyError, TypeError) as error:
        raise UsageError(f"the checkpoint does not say what its run left out ({error})") from error
    return (*split.holdout, *split.validation), f"kept out of training, {short}"
