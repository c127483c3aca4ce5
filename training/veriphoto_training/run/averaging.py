"""Averages the weights of several runs: better than each of them, at no cost when serving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from veriphoto.errors import UsageError
from veriphoto.manifest import FINDINGS_FILE
from veriphoto_training.data.dataset import read_dataset
from veriphoto_training.data.splits import SplitRecord
from veriphoto_training.network.model import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from veriphoto_training.run.finish import CalibrationSet, write_findings

_MUST_AGREE = ("seed", "data_fingerprint", "weights", "holdout_sources", "holdout_generators")
"""Runs that differ here started elsewhere, or one was trained on what another kept out."""


def average(checkpoints: Sequence[Path], output: Path) -> Path:
    """Averages checkpoints of runs with one start and one split, such as those that differ in ``replica``.

    Args:
        checkpoints: ``best.pt`` of each; the mean of one is itself.
        output: Directory for the mean's ``best.pt``.

    Returns:
        The averaged checkpoint.

    Raises:
        UsageError: If there is none or they do not belong together.
    """
    if not checkpoints:
        raise UsageError("name a checkpoint, or several to average")
    loaded = [load_checkpoint(path) for path in checkpoints]
    first = loaded[0][1]
    for path, (_, metadata) in zip(checkpoints, loaded, strict=True):
        different = [key for key in _MUST_AGREE if metadata.get(key) != first.get(key)]
        if metadata["recipe"]["validation_share"] != first["recipe"]["validation_share"]:
            different.append("validation_share")
        if different:
            raise UsageError(f"{path} differs from {checkpoints[0]} in {', '.join(different)}")
    states = [network.state_dict() for network, _ in loaded]
    mean = {
        name: (sum(state[name].double() for state in states) / len(states)).to(tensor.dtype)
        for name, tensor in states[0].items()
    }
    several = {"averaged": [metadata["run_id"] for _, metadata in loaded]} if len(loaded) > 1 else {}
    save_checkpoint(output / CHECKPOINT_FILE, mean, {**first, **several})
    return output / CHECKPOINT_FILE


def calibrate_checkpoint(
    checkpoint: Path, data: Path, product_sources: Sequence[str], *, calibrate_holdout: bool, half: bool = False
) -> Path:
    """Writes ``findings.json`` beside a checkpoint, from what its run kept out of training.

    Args:
        checkpoint: ``best.pt``.
        data: The data set it was trained on.
        product_sources: Patterns of the sources whose real product photos set the threshold.
        calibrate_holdout: Calibrate on the hold-out too.
        half: Score in bfloat16.

    Returns:
        The file.

    Raises:
        UsageError: If the checkpoint does not say what its run kept out.
        DataError: If ``data`` is another data set.
    """
    _, metadata = load_checkpoint(checkpoint)
    split = SplitRecord.read(metadata).split(read_dataset(data))
    chosen = CalibrationSet(
        seen=split.validation,
        unseen=split.holdout if calibrate_holdout else (),
        product_sources=tuple(product_sources),
    )
    write_findings(checkpoint, chosen, half=half)
    return checkpoint.parent / FINDINGS_FILE
