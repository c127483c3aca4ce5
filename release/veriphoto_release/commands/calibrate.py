"""The command ``veriphoto calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veriphoto.errors import MissingExtraError

if TYPE_CHECKING:
    from veriphoto_release.calibrate import Calibrated


def register(app: typer.Typer) -> None:
    """Adds this module's command.

    Args:
        app: The command line to add to.
    """
    app.command()(calibrate)


def calibrate(
    real: Annotated[Path, typer.Option(help="Folder of the shop's own real photos, as it receives them.")],
    rate: Annotated[float, typer.Option(help="Largest share of real photos that may be called AI-generated.")] = 0.02,
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Version to start from; the newest by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report the fit and write nothing.")] = False,
) -> None:
    """Fit threshold and unsure band to one shop's own real photos, and publish them as a new model version.

    A running server keeps its version; the new one is served from the next start.
    """
    try:
        from rich.progress import track  # noqa: PLC0415 - a light command line without these

        from veriphoto_release.calibrate import calibrate_version  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    done = calibrate_version(
        real,
        rate=rate,
        repository=model_repository,
        version=version,
        write=not dry_run,
        track=lambda files: track(files, description="scoring"),
    )
    _tell(done)


def _tell(done: Calibrated) -> None:
    from veriphoto_training.calibration.shop import ASSURANCE, advised, needed  # noqa: PLC0415 - numpy

    fit, scores = done.fit, done.scores
    typer.echo(
        f"{fit.photos} photos used; left out: {scores.copies} copies, {scores.gated} too small or too degraded, "
        f"{len(scores.broken)} unreadable"
    )
    for name, reason in scores.broken.items():
        typer.echo(f"  {name}: {reason}", err=True)
    if done.joint is not None:
        joint = done.joint
        typer.echo(
            f"with the second opinion: AI-generated from {joint.unsure_high:.4f}, {joint.flagged} of these photos, "
            f"at most {joint.rate:.1%} of all with {ASSURANCE:.0%} assurance"
        )
        typer.echo("without it, where a server asks for none:")
    typer.echo(
        f"threshold {fit.threshold:.4f}: {fit.above_threshold} of these photos above, at most {fit.rate:.1%} expected"
    )
    typer.echo(
        f"unsure from {fit.unsure_low:.4f} to {fit.unsure_high:.4f}: {fit.unsure} of these photos; "
        f"{fit.flagged} called AI-generated, at most {fit.rate:.1%} of all with {ASSURANCE:.0%} assurance"
    )
    if fit.photos < advised(fit.rate):
        typer.echo(
            f"{needed(fit.rate)} photos are the fewest for {fit.rate:.1%}, and so few set the band high; "
            f"with {advised(fit.rate)} or more, more generated pictures are found",
            err=True,
        )
    typer.echo(f"published {done.directory}, from version {done.base}" if done.directory else "nothing was written")
