"""The commands ``veriphoto data audit`` and ``veriphoto data fetch``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from veriphoto.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from veriphoto_training.data.appearance import Content
    from veriphoto_training.scoring.scorers import Scorer

_LIMIT_EXCEEDED: Final = 1


class PublicSet(StrEnum):
    """Public data sets that ``fetch`` knows."""

    CIFAKE = "cifake"
    PHOTOS = "photos"


def register(app: typer.Typer) -> None:
    """Adds this module's commands.

    Args:
        app: The command line to add to.
    """
    data = typer.Typer(help="Check and fetch data sets.", no_args_is_help=True)
    data.command()(audit)
    data.command()(fetch)
    app.add_typer(data, name="data")


def audit(
    directory: Annotated[
        Path, typer.Argument(help="Data set: a folder with manifest.csv or with real/ and ai/, or a zip.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for audit.html and audit.json.")] = Path("var/audit"),
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another data set, such as the test set, to search for copies too; may be repeated."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Model whose answers are checked: a version's folder, or the classifier's.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Model whose answers are checked: a training run's best.pt.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Training recipe whose alignment of files is applied.")] = "product",
    max_per_class: Annotated[
        int | None, typer.Option(min=5, help="Use at most this many photos of each class.")
    ] = None,
    max_auroc: Annotated[
        float,
        typer.Option(min=0.5, max=1.0, help="Highest AUROC allowed from metadata alone."),
    ] = 0.55,
    max_looks: Annotated[
        float,
        typer.Option(
            min=0.5, max=1.0, help="Highest AUROC allowed from looks alone (colour, contrast, white, content)."
        ),
    ] = 0.55,
    teacher: Annotated[
        Path | None, typer.Option(help="A second opinion's targets: content is found in its features of the photos.")
    ] = None,
) -> None:
    """Measure how a model could cheat on a data set; list copies, broken files and doubtful labels.

    Exit code 0 if every limit holds or is exceeded by what may be chance (the interval reaches back to it), 1 if one is
    plainly exceeded, 2 if the audit could not run.
    """
    if onnx is not None and checkpoint is not None:
        raise UsageError("name one model: --onnx or --checkpoint")
    try:
        from rich.progress import track  # noqa: PLC0415 - a light command line without these

        from veriphoto_training.audit.page import HTML_FILE, write_audit  # noqa: PLC0415
        from veriphoto_training.audit.run import AuditOptions, run_audit  # noqa: PLC0415
        from veriphoto_training.recipes import get_recipe  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name) from error
    options = AuditOptions(
        root=directory,
        against=against or (),
        recipe=get_recipe(recipe),
        max_per_class=max_per_class,
        max_auroc=max_auroc,
        max_looks=max_looks,
        content=_content(teacher),
        model=_model(onnx, checkpoint),
    )
    found, pictures = run_audit(options, lambda items, text: track(items, description=text))
    write_audit(found, pictures, output)
    for limit in found.limits:
        word = limit.state.upper() if limit.state == "exceeded" else limit.state
        found_here = limit.figure if limit.limit else f"{limit.figure.value:.0f}"
        typer.echo(f"{word:13}  {limit.name}: {found_here} (limit {limit.limit})")
        if limit.state == "exceeded":
            typer.echo(f"{'':15}{limit.advice}")
    typer.echo(f"for comparison, metadata alone on the files as they are: {found.raw.auroc}")
    looks = found.looks
    for name, shortcut, worth in (
        ("without", looks.plain, looks.pictures),
        ("with", looks.balanced, looks.balanced_pictures),
    ):
        counts = ", ".join(f"{count:.0f} {label}" for label, count in worth.items())
        typer.echo(f"looks alone, drawn {name} look weights: {shortcut.auroc}; worth {counts} photos drawn alike")
    typer.echo(f"report: {output / HTML_FILE}")
    if not found.holds:
        raise typer.Exit(_LIMIT_EXCEEDED)


def fetch(
    name: Annotated[
        PublicSet, typer.Argument(help="cifake (32 px, from Kaggle), or photos (those of a list, by git).")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the data set; var/data/NAME by default.")] = None,
    max_per_class: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many photos of each class in each part.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="cifake: folder of the unpacked download, if you have it already.")
    ] = None,
    photo_list: Annotated[
        Path, typer.Option("--list", help="photos: CSV file of repositories, commits and blobs.")
    ] = Path("training/photo_sources.csv"),
    mirrors: Annotated[
        Path | None, typer.Option(help="photos: folder of mirrors (owner+name or owner/name), instead of the network.")
    ] = None,
    remote: Annotated[
        str, typer.Option(help="photos: https:// or file:// address that owner/name is appended to.")
    ] = "https://github.com",
) -> None:
    """Fetch a public data set and lay it out as training reads it.

    Run `photos` again after an interruption: it goes on. Exit code 0 if every photo of the list is there, 1 if some are
    missing (the rest is a data set; missing.csv has a row for each), 2 if it could not run.
    """
    target = output or Path("var/data") / name.value
    if name is PublicSet.PHOTOS:
        if source is not None:
            raise UsageError("--source goes with cifake; photos takes --mirrors")
        _fetch_photos(target, photo_list, mirrors, remote, max_per_class)
        return
    from veriphoto_training.data import cifake  # noqa: PLC0415 - a light command line without it

    if mirrors is not None:
        raise UsageError("--mirrors goes with photos; cifake takes --source")
    if target.exists():
        raise UsageError(f"{target} exists; name a folder that does not with --output, or remove it")
    counts = cifake.arrange(source or cifake.download(), target, max_per_class)
    for place, count in counts.items():
        typer.echo(f"{target / place}: {count} pictures")


def _fetch_photos(target: Path, listed: Path, mirrors: Path | None, remote: str, maximum: int | None) -> None:
    from rich.progress import track  # noqa: PLC0415 - a light command line without these

    from veriphoto_training.data.listed import MISSING_FILE, build, read_list  # noqa: PLC0415

    fetched = build(
        read_list(listed),
        target,
        mirrors=mirrors,
        remote=remote,
        max_per_class=maximum,
        track=lambda items, text: track(items, description=text),
    )
    for label, count in fetched.counts.items():
        typer.echo(f"{target / label}: {count} photos")
    typer.echo(f"{fetched.kept} of them were there before")
    if fetched.missing:
        reasons = ", ".join(f"{reason} {count}" for reason, count in fetched.reasons.items())
        typer.echo(f"missing: {len(fetched.missing)} ({reasons}); see {target / MISSING_FILE}")
        raise typer.Exit(_LIMIT_EXCEEDED)


def _content(teacher: Path | None) -> Content | None:
    if teacher is None:
        return None
    from veriphoto_training.opinion.teacher import Teacher  # noqa: PLC0415 - a light command line without it

    known = Teacher.read(teacher).known
    return lambda pictures: known(list(pictures))[1]


def _model(onnx: Path | None, checkpoint: Path | None) -> Callable[[], Scorer] | None:
    def load() -> Scorer:
        from veriphoto_training.scoring.scorers import CheckpointScorer, OnnxScorer  # noqa: PLC0415

        return OnnxScorer(onnx) if onnx is not None else CheckpointScorer(checkpoint or Path())

    return load if onnx or checkpoint else None
