"""Label Studio: cases go out as tasks with the model's answer filled in; what people choose there comes back.

The formats are Label Studio's own: its import format "JSON with predictions" and its export format "JSON".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from veriphoto.errors import DataError, UsageError
from veriphoto.files import replace_text
from veriphoto.foreign_json import parse
from veriphoto.shared_names import LONGEST_REFERENCE
from veriphoto_review.cases.case import Case, Truth
from veriphoto_review.cases.pictures import place_of
from veriphoto_review.cases.store import LONGEST_NOTE, CaseStore, Filter
from veriphoto_review.database.connection import Database, clean
from veriphoto_review.intake.feedback import FeedbackDesk

CHANNEL: Final = "label-studio"
TASKS_FILE: Final = "tasks.json"
CONFIG_FILE: Final = "labeling-config.xml"
CHOICES: Final = {Truth.REAL: "Real photo", Truth.AI: "AI-generated", Truth.UNKNOWN: "Cannot tell"}
_TRUTHS: Final = {choice: truth for truth, choice in CHOICES.items()}
_CHOICE, _PHOTO, _NOTE = "truth", "photo", "note"
_SUBJECTS: Final = ("sha256", "reference")
"""Fields of a task's data that name its picture, best first."""
CONFIG: Final = f"""<View>
  <Image name="{_PHOTO}" value="${_PHOTO}" zoom="true"/>
  <Choices name="{_CHOICE}" toName="{_PHOTO}" choice="single-radio" required="true" showInLine="true">
    <Choice value="Real photo" hotkey="1"/>
    <Choice value="AI-generated" hotkey="2"/>
    <Choice value="Cannot tell" hotkey="3"/>
  </Choices>
  <TextArea name="{_NOTE}" toName="{_PHOTO}" placeholder="Why? The seller may read this." maxSubmissions="1"/>
</View>
"""


@dataclass(kw_only=True)
class Sent:
    """What was written."""

    tasks: int = 0
    left_out: dict[int, str] = field(default_factory=dict)
    """Case to why it is no task."""


def write_tasks(store: CaseStore, target: Path, chosen: Filter, *, document_root: Path) -> Sent:
    """Writes the tasks and the labeling configuration of a Label Studio project.

    Args:
        store: With the cases.
        target: A folder; files of an earlier run are replaced.
        chosen: Which cases. A picture that has several becomes one task.
        document_root: Label Studio's ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``, for pictures in local files.

    Raises:
        UsageError: If the folder cannot be written.
        DatabaseError: If the database refuses.
    """
    sent, tasks, seen = Sent(), [], set()
    for case in store.every(chosen):
        subject = case.sha256 or case.reference
        if subject in seen:
            continue
        seen.add(subject)
        try:
            tasks.append(_task(case, _photo(case, document_root)))
        except ValueError as error:
            sent.left_out[case.id] = str(error)
    try:
        target.mkdir(parents=True, exist_ok=True)
        replace_text(target / CONFIG_FILE, CONFIG)
        replace_text(target / TASKS_FILE, json.dumps(tasks, indent=1))
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}; make room or name another") from error
    sent.tasks = len(tasks)
    return sent


def _photo(case: Case, document_root: Path) -> str:
    place = place_of(case)
    if not place:
        raise ValueError("no photo is known for this case")
    if "://" in place:
        return place  # Label Studio fetches http and s3 itself
    path, root = Path(place).absolute(), document_root.absolute()
    if not path.is_relative_to(root):
        raise ValueError(f"{path} is outside {root}; name a --document-root that holds all photos")
    return f"/data/local-files/?d={quote(PurePosixPath(path.relative_to(root)).as_posix())}"


def _task(case: Case, photo: str) -> dict[str, Any]:
    said = Truth.UNKNOWN if case.verdict == "unsure" else Truth(case.prediction)
    result = {"from_name": _CHOICE, "to_name": _PHOTO, "type": "choices", "value": {"choices": [CHOICES[said]]}}
    return {
        "data": {
            _PHOTO: photo,
            "case": case.id,
            "sha256": case.sha256,
            "reference": case.reference,
            "shop": case.shop,
            "probability": case.probability,
        },
        # The score orders a project's tasks; so it is the probability of AI, whichever choice is filled in.
        "predictions": [
            {"model_version": f"veriphoto {case.model_version}", "score": case.probability, "result": [result]}
        ],
    }


@dataclass(kw_only=True)
class Returned:
    """What the annotations did."""

    statuses: Counter[str] = field(default_factory=Counter)
    """Tasks by what became of them."""
    complaints: list[str] = field(default_factory=list)
    """Tasks that were not understood, or on which people disagree."""

    def summary(self) -> str:
        """Says it in a line."""
        words = ("decided", "unchanged", "kept", "unknown", "disputed", "not annotated", "not understood")
        return ", ".join(f"{self.statuses[word]} {word}" for word in words)


def read_annotations(database: Database, path: Path) -> Returned:
    """Takes a project's export as decisions; the same export again changes nothing.

    Where people chose differently the case stays as it is. *Cannot tell* gives way to a colleague who could.

    Args:
        database: With the cases.
        path: Label Studio's export in its format JSON.

    Raises:
        DataError: If the file is no such export.
        DatabaseError: If the database refuses; tasks before that are decided, and reading again goes on.
    """
    try:
        tasks = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; export the project from Label Studio as JSON") from error
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) and "annotations" in task for task in tasks):
        raise DataError(f"{path} is not Label Studio's export in the format JSON; JSON-MIN and CSV leave too much out")
    desk, returned = FeedbackDesk(database), Returned()
    for place, task in enumerate(tasks, 1):
        try:
            status = _settle(desk, task)
        except ValueError as error:
            returned.complaints.append(f"task {task.get('id', place)}: {error}")
            status = "disputed" if isinstance(error, _DisputedError) else "not understood"
        returned.statuses[status] += 1
    return returned


class _DisputedError(ValueError):
    """People chose differently."""


def _settle(desk: FeedbackDesk, task: Mapping[str, Any]) -> str:
    try:
        votes = [vote for each in task["annotations"] if (vote := _vote(each))]
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError("its annotations are not as Label Studio writes them; export the project again") from error
    if not votes:
        return "not annotated"
    told = {truth for truth, _, _ in votes if truth} or {Truth.UNKNOWN}
    if len(told) > 1:
        raise _DisputedError("people chose differently; settle it in Label Studio and export again")
    (truth,) = told
    agreeing = [vote for vote in votes if vote[0] == truth]
    data = task.get("data")
    data = data if isinstance(data, Mapping) else {}
    kind = next((name for name in _SUBJECTS if data.get(name)), "")
    if not kind:
        raise ValueError("its data name no picture; import the tasks that Veriphoto wrote")
    note = " / ".join(dict.fromkeys(note for _, _, note in agreeing if note))[:LONGEST_NOTE]
    actor = ", ".join(dict.fromkeys(who for _, who, _ in agreeing))
    value = clean(data[kind])
    if len(value.encode()) > LONGEST_REFERENCE:
        raise ValueError(f"its {kind} has more than {LONGEST_REFERENCE} bytes")
    taken = desk.take(kind=kind, value=value, truth=truth, note=note, actor=actor, wait=False, channel=CHANNEL)
    return taken.status


def _vote(annotation: Any) -> tuple[Truth, str, str] | None:
    """Returns truth, name and note of an annotation; None where it was skipped or left empty."""
    if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
        return None
    values = {
        part.get("from_name"): part.get("value") or {}
        for part in annotation.get("result") or ()
        if isinstance(part, Mapping)
    }
    choices = values.get(_CHOICE, {}).get("choices") or [None]
    if choices[0] is None:
        return None
    if choices[0] not in _TRUTHS:
        raise ValueError(f"the choice {str(choices[0])[:40]!r} is not one of {', '.join(_TRUTHS)}")
    who = annotation.get("completed_by")
    name = who.get("email") if isinstance(who, Mapping) else who
    return _TRUTHS[choices[0]], f"Label Studio user {name}", " ".join(values.get(_NOTE, {}).get("text") or ())
