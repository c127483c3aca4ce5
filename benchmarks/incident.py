"""Replays the incident of docs/incident-drift.md: two generators that the shipped model does not know arrive in a shop.

    python -m benchmarks.incident folders --photos data/photos
    python -m benchmarks.incident traffic --begin 2026-11-24T00:00 --count 6000

``folders`` writes two data sets of links: ``labelled``, to train on, and ``evaluation``, which has no picture that any
version was trained on. ``traffic`` scores the latter's pictures, and the newcomers of either, with a version of the
repository, once, and appends lines drawn from these scores to a prediction log.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.drift_pool import ROOT, unseen
from benchmarks.drift_population import AI_SHARE

from veriphoto.contract import CLASSIFIER, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.prediction_log.record import Record, segment_name
from veriphoto.prediction_log.recorder import make_record
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import unasked
from veriphoto.sessions import OUTPUTS, open_session
from veriphoto_training.data.dataset import LABELS, Picture, fraction, read_dataset, thin

NEWCOMERS: Final = ("freepik_school", "whisk_homecare")
"""Sources of the two generators, left out of the shipped model's training."""
SHOP: Final = ("trashnet", "campus_food_phone", "food_cutouts", "packaging_barcodes")
"""Sources of real photos, left out likewise: the shop's own."""
PRESS: Final = "camera_pr_shots"
"""Left out likewise, and of the replay: press photos are no shop's."""
KNOWN, OTHERS = 1500, 60
"""Pictures a class beside the newcomers: that the shipped model was trained on, in ``labelled``; that it was not, in
each. So few that two cores train on them in minutes."""
LABELLED, EVALUATION = "labelled", "evaluation"
NEW_SHARE: Final = 0.2
"""Share of the newcomers in traffic once they have arrived."""
SPACING_S: Final = 8.64
"""Seconds between pictures: 10,000 a day."""
PARTS: Final = (LABELLED, EVALUATION)
_LINK: Final = "photos"


def folders(photos: Path, output: Path) -> None:
    """Writes both data sets.

    Args:
        photos: All photos.
        output: Gets a folder for each.
    """
    kept = [one for one in unseen(photos, (*NEWCOMERS, *SHOP, PRESS), ()) if one.source != PRESS]
    paths = {one.path for one in kept}
    known = [one for one in read_dataset(photos).pictures if one.path not in paths and one.source != PRESS]
    for part in PARTS:
        # By group, so that no near-duplicate stands on both sides.
        mine = [one for one in kept if (fraction(one.group, "incident") < 0.5) is (part == LABELLED)]
        new = [one for one in mine if one.source in NEWCOMERS]
        others = thin([one for one in mine if one.source not in NEWCOMERS], OTHERS)
        _write(output / part, photos, [*(thin(known, KNOWN) if part == LABELLED else ()), *new, *others])


def traffic(
    output: Path, repository: Path, log: Path, *, begin: float, count: int, arrived: str = "", seed: int = 0
) -> None:
    """Appends a period of traffic to a log.

    Args:
        output: As given to ``folders``; scores are kept there.
        repository: Its newest classifier answers.
        log: Directory of the prediction log.
        begin: Time of the first picture, seconds since the epoch.
        count: Pictures.
        arrived: The newcomers of which part are ``NEW_SHARE`` of the pictures; none where empty.
        seed: Of the draws.
    """
    version = latest_version(repository / CLASSIFIER)
    usual = [one for one in read_dataset(output / EVALUATION).pictures if one.source not in NEWCOMERS]
    new = [one for one in read_dataset(output / (arrived or EVALUATION)).pictures if one.source in NEWCOMERS]
    records = _scores(version, [*usual, *new], output)
    parts = ([one for one in usual if not one.label], [one for one in usual if one.label], new)
    pools = [[records[one.path] for one in part] for part in parts]
    rng = np.random.default_rng(seed)
    share = NEW_SHARE if arrived else 0.0
    kinds = rng.choice(3, count, p=[(1.0 - AI_SHARE) * (1.0 - share), AI_SHARE * (1.0 - share), share])
    log.mkdir(parents=True, exist_ok=True)
    with (log / segment_name("replay", int(begin * 1e9))).open("w", encoding="utf-8") as file:
        for number, kind in enumerate(kinds):
            drawn: dict[str, Any] = dict(pools[kind][int(rng.integers(len(pools[kind])))])
            drawn |= {"time": round(begin + number * SPACING_S, 3), "request_id": rng.bytes(16).hex()}
            file.write(Record.from_line(json.dumps(drawn)).to_line())
    print(f"{count} pictures by version {version.name}, {int((kinds == 2).sum())} of them of the new generators")


def _scores(version: Path, pictures: Sequence[Picture], output: Path) -> dict[str, dict[str, Any]]:
    """Scores what is not yet scored, as the recorder would note it where nobody else is asked."""
    path = output / f"scores-{version.name}.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    run = open_session(version / ONNX_FILE)
    for picture in pictures:
        if picture.path in found:
            continue
        ready = preprocess(picture.data)
        answer = dict(zip(OUTPUTS, run(ready.crops[None]), strict=True))
        record = make_record(
            "",
            float(answer[LOGIT].item()),
            float(answer[PROBABILITY].item()),
            ready.statistics.tolist(),
            answer[OPERATING_POINT][0].tolist(),
            unasked(answer[LOGIT], answer[OPERATING_POINT])[0].tolist(),
        )
        found[picture.path] = json.loads(record.to_line())
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def _write(folder: Path, photos: Path, pictures: Iterable[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / _LINK
    link.unlink(missing_ok=True)
    link.symlink_to(photos.resolve())
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "source", "generator", "group"))
        for one in pictures:
            writer.writerow((f"{_LINK}/{one.path}", LABELS[one.label], one.source, one.generator, one.group))


def main() -> None:
    """Does what it is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["folders", "traffic"])
    parser.add_argument("--photos", type=Path, default=ROOT / "data" / "photos")
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "incident")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--begin", type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--arrived", choices=["", *PARTS], default="")
    parser.add_argument("--seed", type=int, default=0)
    found = parser.parse_args()
    if found.what == "folders":
        folders(found.photos, found.output)
        return
    if found.begin is None:
        parser.error("traffic needs --begin")
    traffic(
        found.output,
        found.repository,
        found.output / "predictions",
        begin=found.begin.timestamp(),
        count=found.count,
        arrived=found.arrived,
        seed=found.seed,
    )


if __name__ == "__main__":
    main()
