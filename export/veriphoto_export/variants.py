"""Builds the variants of a version, measures them, and accepts what is fast *and* scores as fp32 does."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.contract import CONTRACT
from veriphoto.errors import DataError, ImageError, ModelError
from veriphoto.files import replace_bytes, replace_text
from veriphoto.manifest import ONNX_FILE, read_manifest, sha256_file, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto.variants import INT8_FILE, SETUPS, VARIANTS_FILE, Variant, cpu_kind, cpu_name, read_variants
from veriphoto.verdict import OperatingPoint
from veriphoto_export.quantize import quantize_int8
from veriphoto_export.runners import Crops, Run, available, file_of, open_variant
from veriphoto_training.data.dataset import Picture, thin
from veriphoto_training.scoring.deliveries import ENDS, deliver
from veriphoto_training.scoring.metrics import auroc, balanced_accuracy

MAX_AUROC_LOSS: Final = 0.003
MAX_ACCURACY_LOSS: Final = 0.005
BATCHES: Final = (1, 8)
CORES: Final = (1, 2)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantMeasurement:
    """Measurements of one variant."""

    variant: str
    bytes: int
    sha256: str
    ms_per_crop: dict[str, float]
    """By ``b<pictures>c<cores>``; medians of interleaved rounds."""
    speed_up: dict[str, float]
    """Against fp32 in the same rounds: median of the ratios."""
    auroc: dict[str, float]
    """By delivery."""
    balanced_accuracy: dict[str, float]
    """By delivery, at the version's threshold."""
    largest_difference: float
    """In probability, from fp32."""
    accepted: bool
    why_not: str


def build_variants(
    directory: Path,
    pictures: Sequence[Picture],
    *,
    calibration: int = 100,
    most: int = 200,
    rounds: int = 10,
    evaluation: str = "",
    only: Sequence[Variant] = (),
    say: Say = lambda _: None,
) -> list[VariantMeasurement]:
    """Builds, measures and judges the variants of a model; writes them beside its graph.

    A variant is refused if it loses more than ``MAX_AUROC_LOSS`` or ``MAX_ACCURACY_LOSS``, or moves one probability
    further than the unsure band is wide, since the same picture could then be real here and AI-generated elsewhere.

    Calibration pictures are not evaluated. An INT8 graph that was accepted before stays: calibrated anew it would score
    a little differently, and a version is often measured again only because it runs on another kind of CPU.

    Args:
        directory: A version directory, or one with a model that has no number yet.
        pictures: Pictures of both classes that the network was not trained on.
        calibration: Pictures of each class to calibrate INT8 with.
        most: Largest number of pictures of each class to evaluate on.
        rounds: Timed rounds for each batch size.
        evaluation: Description of the pictures, for the record.
        only: Variants to build; all if empty. fp32 is always measured.
        say: Called with a line of progress.

    Returns:
        A row for each variant.

    Raises:
        ModelError: If the model must not be used or the directory cannot be written to.
        DataError: If there are too few pictures.
    """
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    chosen = [each for each in available() if each is Variant.FP32 or not only or each in only]
    calibrating = thin(pictures, calibration, "calibration")
    taken = {picture.path for picture in calibrating}
    judging = thin([picture for picture in pictures if picture.path not in taken], most, "evaluation")
    with tempfile.TemporaryDirectory() as folder:
        # Built elsewhere: the directory may be served, and a kill must not leave half a graph in it.
        bench = Path(folder)
        (bench / ONNX_FILE).symlink_to((directory / ONNX_FILE).absolute())
        if any(file_of(each) == INT8_FILE for each in chosen):
            if _vouched(directory, manifest.onnx_sha256):
                say(f"measuring the {INT8_FILE} that is there; remove it to calibrate another")
                (bench / INT8_FILE).symlink_to((directory / INT8_FILE).absolute())
            else:
                say(f"calibrating INT8 on {len(calibrating)} pictures")
                _quantize(bench, calibrating)
        runs = {each: open_variant(each, bench) for each in chosen}
        scores, labels = {}, np.zeros(0, dtype=np.int64)
        for delivery in ENDS:
            say(f"scoring {len(judging)} pictures, {delivery}")
            labels, scores[delivery] = _score(runs, judging, delivery)
        say("timing")
        times = _time(chosen, bench, rounds)
        rows = [_row(each, bench, times, scores, labels, manifest.findings.operating_point) for each in chosen]
        _write(directory, bench, rows, manifest.onnx_sha256, f"{len(labels)} pictures, {evaluation}")
    return rows


def fastest(rows: Sequence[VariantMeasurement]) -> str:
    """Returns the accepted variant that serves one picture soonest on one core, as the embedded classifier runs."""
    return min((row for row in rows if row.accepted), key=lambda row: row.ms_per_crop["b1c1"]).variant


def _vouched(directory: Path, onnx_sha256: str) -> bool:
    """Tells whether there is an INT8 graph that was accepted for this model."""
    file = directory / INT8_FILE
    rows = read_variants(directory, onnx_sha256).get("rows", [])
    accepted = {
        row["sha256"]
        for row in rows
        if row["accepted"] and row["variant"] in SETUPS and file_of(row["variant"]) == INT8_FILE
    }
    return file.is_file() and sha256_file(file) in accepted


def _quantize(bench: Path, pictures: Sequence[Picture]) -> None:
    crops = [made for made in (_crops(picture, "clean") for picture in pictures) if made is not None]
    try:
        quantize_int8(bench / ONNX_FILE, bench / INT8_FILE, crops)
    except OSError as error:
        raise ModelError(f"cannot write {bench / INT8_FILE}: {error.strerror or error}") from error


def _crops(picture: Picture, delivery: str) -> Crops | None:
    try:
        return preprocess(deliver(picture.data, delivery)).crops[np.newaxis]
    except (ImageError, OSError):
        return None


def _score(runs: dict[Variant, Run], pictures: Sequence[Picture], delivery: str) -> tuple[Any, dict[Variant, Any]]:
    labels: list[int] = []
    found: dict[Variant, list[float]] = {each: [] for each in runs}
    for picture in pictures:
        crops = _crops(picture, delivery)
        if crops is None:
            continue
        labels.append(picture.label)
        for each, run in runs.items():
            found[each].append(float(run(crops)[0]))
    if len(set(labels)) != 2:
        raise DataError("the evaluation set needs readable pictures of both classes")
    return np.array(labels, dtype=np.int64), {each: np.array(scores) for each, scores in found.items()}


def _time(chosen: Sequence[Variant], directory: Path, rounds: int) -> dict[tuple[Variant, str], list[float]]:
    """Milliseconds a crop; variants take turns, so that whatever else the machine does falls on all of them."""
    generator = np.random.default_rng(0)
    size, crops = CONTRACT.crop_size, CONTRACT.crops
    times: dict[tuple[Variant, str], list[float]] = {}
    for cores in CORES:
        runs = {each: open_variant(each, directory, cores) for each in chosen}
        for batch in BATCHES:
            pictures = generator.integers(0, 256, (batch, crops, size, size, 3), dtype=np.uint8)
            for number in range(rounds + 1):
                for each, run in runs.items():
                    start = time.perf_counter()
                    run(pictures)
                    spent = 1000 * (time.perf_counter() - start) / (batch * crops)
                    if number:  # the first is a warm-up
                        times.setdefault((each, f"b{batch}c{cores}"), []).append(spent)
    return times


def _row(
    variant: Variant,
    directory: Path,
    times: dict[tuple[Variant, str], list[float]],
    scores: dict[str, dict[Variant, Any]],
    labels: Any,
    point: OperatingPoint,
) -> VariantMeasurement:
    sizes = [size for each, size in times if each is variant]
    ratios = {
        size: statistics.median(
            reference / own for reference, own in zip(times[Variant.FP32, size], times[variant, size], strict=True)
        )
        for size in sizes
    }
    areas = {name: {each: auroc(labels, found) for each, found in made.items()} for name, made in scores.items()}
    accuracies = {
        name: {each: balanced_accuracy(labels, found, point.threshold) for each, found in made.items()}
        for name, made in scores.items()
    }
    why = _complaints("AUROC", areas, variant, MAX_AUROC_LOSS)
    why += _complaints("balanced accuracy", accuracies, variant, MAX_ACCURACY_LOSS)
    largest = float(max(np.abs(made[variant] - made[Variant.FP32]).max() for made in scores.values()))
    band = point.unsure_high - point.unsure_low
    if largest > band:
        why.append(f"a probability moves by {largest:.3f}, further than the unsure band is wide ({band:.3f})")
    file = directory / file_of(variant)
    return VariantMeasurement(
        variant=variant.value,
        bytes=file.stat().st_size,
        sha256=sha256_file(file),
        ms_per_crop={size: round(statistics.median(times[variant, size]), 3) for size in sizes},
        speed_up={size: round(ratio, 3) for size, ratio in ratios.items()},
        auroc={name: round(made[variant], 5) for name, made in areas.items()},
        balanced_accuracy={name: round(made[variant], 5) for name, made in accuracies.items()},
        largest_difference=largest,
        accepted=not why,
        why_not="; ".join(why),
    )


def _complaints(figure: str, found: dict[str, dict[Variant, float]], variant: Variant, most: float) -> list[str]:
    losses = {name: made[Variant.FP32] - made[variant] for name, made in found.items()}
    return [
        f"{figure} {name} falls by {100 * loss:.2f} points, {100 * most:.1f} may be lost"
        for name, loss in losses.items()
        if not loss <= most + 1e-9
    ]


def _write(directory: Path, bench: Path, rows: Sequence[VariantMeasurement], sha256: str, evaluation: str) -> None:
    """Puts the graph there first and what vouches for it last: between the two, fp32 serves."""
    body = {
        "onnx_sha256": sha256,
        "cpu": cpu_name(),
        "cpu_kind": cpu_kind().value,
        "evaluation": evaluation,
        "fastest": fastest(rows),
        "rows": [asdict(row) for row in rows],
    }
    eight_bits = any(row.accepted and file_of(Variant(row.variant)) == INT8_FILE for row in rows)
    try:
        if eight_bits:
            replace_bytes(directory / INT8_FILE, (bench / INT8_FILE).read_bytes())
        replace_text(directory / VARIANTS_FILE, json.dumps(body, indent=2) + "\n")
        if not eight_bits:
            (directory / INT8_FILE).unlink(missing_ok=True)  # nobody may run it
    except OSError as error:
        raise ModelError(f"cannot write {directory / VARIANTS_FILE}: {error.strerror or error}") from error
