"""Promotion and rollback of models.

Every step has a name, which is reported as it begins and if it fails. Until the golden pictures have been scored
through Triton a failure, or the next command after a kill, undoes the change; from then on it is finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from veriphoto.contract import CLASSIFIER, ENCODER
from veriphoto.errors import ManifestError, ModelError, ServiceUnavailableError, UsageError, VeriphotoError
from veriphoto.manifest import read_manifest
from veriphoto.second_opinion import OPINION_FILE, SecondOpinion, described
from veriphoto_release import golden, journal
from veriphoto_release.adoption import adopt
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.candidate import Candidate, load_candidate
from veriphoto_release.journal import Entry
from veriphoto_release.limits import TOLERANCE
from veriphoto_release.publish import latest, next_version, repository_lock, withdraw, write_version
from veriphoto_release.registration import settle_exports
from veriphoto_release.registry import CHALLENGER, CHAMPION, EXPORT, FORCED, RegisteredModel, Registry
from veriphoto_release.triton import Triton

if TYPE_CHECKING:
    from veriphoto_release.gate import Criterion

PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"

Step = Callable[[str], None]
Judge = Callable[[Candidate, Candidate], "list[Criterion]"]
"""Compares champion and candidate."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where models are registered, kept and served."""

    registry: Registry
    repository: Path
    triton: Triton
    golden: Sequence[Path]
    """Pictures whose scores through Triton must be those offline."""
    tolerance: float = TOLERANCE


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A finished promotion or rollback."""

    action: str
    model: int
    version: int
    previous: int | None
    rows: tuple[Criterion, ...] = ()
    variant: str = ""
    """The variant that Triton runs."""
    opinion_lost: bool = False
    """Whether the version before has a second opinion and this one has none."""


def promote(
    which: str,
    place: Place,
    *,
    judge: Judge,
    evaluation: str = "",
    force: str = "",
    without_opinion: bool = False,
    step: Step = lambda _: None,
) -> Change:
    """Makes a model the champion, if it is good enough.

    Args:
        which: Number or alias of the model in the registry.
        place: Registry, repository and server.
        judge: Compares it with the champion; see ``gate.compare``.
        evaluation: Name of the evaluation set, recorded with the model.
        force: Why it becomes champion although figures are worse, recorded with the model; empty refuses it then.
        without_opinion: Let a version with a second opinion be replaced by one without.
        step: Called with the name of each step as it begins.

    Returns:
        The change.

    Raises:
        VeriphotoError: If a step fails, naming it and the reason; the previous version keeps serving.
    """
    from veriphoto_release import gate  # noqa: PLC0415 - torch, which a rollback does without

    with repository_lock(place.repository):
        procedure = _Procedure(PROMOTE, place, step)
        champion = procedure.begin()
        with procedure.at("find"):
            model = place.registry.find(which)
            if champion is not None and model.number == champion.number:
                raise UsageError(f"model {model.number} is the champion already")
        candidate = procedure.verify(model)
        rows: list[Criterion] = []
        if champion is not None:
            with procedure.at("compare"):
                if not without_opinion:
                    procedure.require_opinion(model, candidate)
                rows = judge(procedure.served(), candidate)
                if not force:
                    gate.require(rows)
        notes = _report(evaluation, rows)
        if force or FORCED in model.tags:
            notes[FORCED] = "" if all(row.holds for row in rows) else force
        return replace(procedure.serve(model, candidate, notes), rows=tuple(rows))


def rollback(place: Place, *, to: str | None = None, step: Step = lambda _: None) -> Change:
    """Serves an earlier champion again, under a new number.

    Args:
        place: Registry, repository and server.
        to: Number of the model in the registry; the champion before this one where None.
        step: Called with the name of each step as it begins.

    Returns:
        The change.

    Raises:
        VeriphotoError: If a step fails, naming it and the reason; the previous version keeps serving.
    """
    with repository_lock(place.repository):
        procedure = _Procedure(ROLLBACK, place, step)
        procedure.begin()
        with procedure.at("find"):
            model = place.registry.find(to or str(_before(place.registry)))
            if not model.served:
                raise UsageError(f"model {model.number} never served; promote it: veriphoto models promote")
        return procedure.serve(model, procedure.verify(model), {})


def settle(place: Place, step: Step = lambda _: None) -> Change | None:
    """Finishes or undoes what a killed command left.

    Args:
        place: Registry, repository and server.
        step: Called with the name of each step as it begins.

    Returns:
        The change that was left unfinished, or None.
    """
    with repository_lock(place.repository):
        return _Procedure("settle", place, step).settle()


class _Procedure:
    """A promotion or rollback, step by step; its caller holds the repository's lock."""

    def __init__(self, action: str, place: Place, step: Step) -> None:
        self.action = action
        self.place = place
        self.step = step
        self.pending: Entry | None = None
        self.serving: int | None = None
        """The version that the server has loaded, which need not be the newest of the repository."""

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        self.step(name)
        try:
            yield
        except BaseException as error:
            undone = self._undo_quietly()
            if not isinstance(error, VeriphotoError) or type(error).__init__ is not Exception.__init__:
                raise
            raise type(error)(f"{self.action} stopped at '{name}': {error}; {self._still(undone)}") from error

    def begin(self) -> RegisteredModel | None:
        """Settles what was left, then finds what is served now."""
        self.settle()
        with self.at("triton"):
            self.place.triton.require_ready()
            self.serving = self.place.triton.served()
        with self.at("adopt"):
            settle_exports(self.place.registry)
            return adopt(self.place.registry, self.place.repository, self.place.golden, version=self.serving)

    def verify(self, model: RegisteredModel) -> Candidate:
        with self.at("verify"):
            directory = self.place.registry.download(model)
            return load_candidate(directory, f"model {model.number}", sha256=model.sha256)

    def served(self) -> Candidate:
        return load_candidate(self.place.repository / CLASSIFIER / str(self.serving), f"version {self.serving}")

    def require_opinion(self, model: RegisteredModel, candidate: Candidate) -> None:
        """The classifiers are compared alone, so that a loss of the second opinion would show in no figure."""
        if self._has_opinion(self.serving) and not self._asked(self._bundle(model, candidate).opinion):
            raise ModelError(
                f"version {self.serving}, which serves, has a second opinion and model {model.number} has none for the "
                f"encoder in {self.place.repository}: fewer AI-generated photos would be found, and the comparison of "
                "classifiers cannot show it. Fit one: "
                f"{fit_command(model.number)} registers both as a new challenger, to be promoted instead. "
                "--without-second-opinion goes on without one"
            )

    def serve(self, model: RegisteredModel, candidate: Candidate, notes: dict[str, str]) -> Change:
        place = self.place
        with self.at("score"):
            bundle = self._bundle(model, candidate)
            expected = golden.expect(candidate, bundle.variants, place.golden)
        number = next_version(place.repository)
        entry = Entry(
            action=self.action,
            model=model.number,
            version=number,
            previous=self.serving,
            proven=False,
        )
        variant = self._publish(entry, bundle, expected)
        with self.at("alias"):
            entry = replace(entry, proven=True)
            journal.write(place.repository, entry)
        self.pending = None  # from here on it is finished, not undone
        try:
            for key, value in notes.items():
                place.registry.tag(model, key, value)
            self._finish(entry)
        except VeriphotoError as error:
            raise type(error)(
                f"{self.action} stopped at 'alias': {error}; version {number} serves, "
                "and the next command moves the alias"
            ) from error
        self.step("done")
        return Change(
            action=self.action,
            model=model.number,
            version=number,
            previous=entry.previous,
            variant=variant,
            opinion_lost=self._has_opinion(entry.previous) and not self._asked(bundle.opinion),
        )

    def _publish(self, entry: Entry, bundle: ModelBundle, expected: golden.Expected) -> str:
        """Writes the version and has Triton prove it; returns the variant that Triton runs."""
        place = self.place
        with self.at("publish"):
            journal.write(place.repository, entry)
            self.pending = entry
            self.step("write")
            write_version(bundle, place.repository, entry.version)
        with self.at("load"):
            place.triton.load_classifier()
        with self.at("golden"):
            return golden.require(place.triton, entry.version, expected, place.tolerance)

    def _asked(self, opinion: SecondOpinion | None) -> bool:
        """Tells whether the server would ask it: not one that was fitted for another encoder."""
        if opinion is None:
            return False
        try:
            return opinion.fits(described(self.place.repository / ENCODER / "1"))
        except ManifestError:
            return True  # Without an encoder none is asked, whichever version serves.

    def _has_opinion(self, version: int | None) -> bool:
        return version is not None and (self.place.repository / CLASSIFIER / str(version) / OPINION_FILE).is_file()

    def _bundle(self, model: RegisteredModel, candidate: Candidate) -> ModelBundle:
        return ModelBundle.gather(candidate.model, candidate.manifest, self._homes(model, candidate))

    def _homes(self, model: RegisteredModel, candidate: Candidate) -> Iterator[Path]:
        """Names where variants and opinion may lie: versions made of the model, the newest first; then the registry."""
        for served in sorted(model.served, key=lambda served: -served.version):
            home = self.place.repository / CLASSIFIER / str(served.version)
            with suppress(VeriphotoError):
                if read_manifest(home).onnx_sha256 == served.sha256:
                    yield home
        yield candidate.directory

    def settle(self) -> Change | None:
        self.step("settle")
        entry = journal.read(self.place.repository)
        if entry is None:
            return None
        if entry.proven:
            self._finish(entry)
        else:
            self._undo(entry)
        return Change(action=entry.action, model=entry.model, version=entry.version, previous=entry.previous)

    def _finish(self, entry: Entry) -> None:
        """Brings the registry up to date with the repository; may be repeated."""
        registry = self.place.registry
        model = registry.find(str(entry.model))
        directory = self.place.repository / CLASSIFIER / str(entry.version)
        sha256 = read_manifest(directory).onnx_sha256
        self.step("alias: served")
        registry.note_served(model, entry.version, sha256, entry.action)
        self.step("alias: champion")
        registry.point(CHAMPION, model)
        self.step("alias: challenger")
        registry.unpoint(CHALLENGER, model)
        self.step("alias: journal")
        journal.clear(self.place.repository)

    def _undo(self, entry: Entry) -> None:
        self.step("undo: withdraw")
        withdraw(self.place.repository, entry.version)
        self.step("undo: load")
        # A server that is away serves nothing, and loads what the repository then holds when it starts.
        with suppress(ServiceUnavailableError) if entry.previous else suppress(ServiceUnavailableError, ModelError):
            newest = entry.previous in (None, latest(self.place.repository))
            self.place.triton.load_classifier(None if newest else entry.previous)
        self.step("undo: journal")
        journal.clear(self.place.repository)

    def _undo_quietly(self) -> bool:
        """Undoes after a failure; a failure of the undoing leaves the journal, and the next command tries again."""
        if self.pending is None:
            return True
        entry, self.pending = self.pending, None
        try:
            self._undo(entry)
        except VeriphotoError:
            return False
        return True

    def _still(self, undone: bool) -> str:
        if not undone:
            return "undoing it failed too, the next command tries again"
        return f"version {self.serving} still serves" if self.serving else "nothing has changed"


def fit_command(model: int) -> str:
    """Returns what fits a second opinion to a registered model."""
    return f"veriphoto second-opinion DATA --product-source PATTERN --model {model}"


def _before(registry: Registry) -> int:
    """Returns the champion before this one: promotions push, rollbacks pop; what was only published never served."""
    stack: list[int] = []
    for served, model in registry.history():
        if served.action == ROLLBACK and model.number in stack:
            del stack[stack.index(model.number) + 1 :]
        elif served.action != EXPORT and (not stack or stack[-1] != model.number):
            stack.append(model.number)
    if len(stack) < 2:
        raise UsageError("there is no earlier champion to go back to")
    return stack[-2]


def _report(evaluation: str, rows: Sequence[Criterion]) -> dict[str, str]:
    figures = [row.to_json() for row in rows if not row.figure.startswith("right in")]
    return {"gate": json.dumps({"evaluation": evaluation, "compares": "classifiers alone", "figures": figures})[:4900]}
