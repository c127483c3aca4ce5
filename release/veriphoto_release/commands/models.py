"""``veriphoto models``: the registry, promotion and rollback."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriphoto.errors import MissingExtraError, UsageError, VeriphotoError
from veriphoto.extras import needs_extra
from veriphoto_release.commands import listing
from veriphoto_release.limits import MARGINS, TOLERANCE, Margins
from veriphoto_release.registry import CHAMPION

if TYPE_CHECKING:
    from veriphoto_release import gate
    from veriphoto_release.promotion import Change, Place
    from veriphoto_release.registry import RegisteredModel, Registry

Repository = Annotated[
    Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models Triton serves.")
]
Var = Annotated[
    Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store and of a running server.")
]
Name = Annotated[
    str, typer.Option(envvar="VERIPHOTO_MODEL_NAME", help="Name in the registry; one for each model repository.")
]
Golden = Annotated[
    Path, typer.Option(envvar="VERIPHOTO_SAMPLES", help="Folder of photos whose scores through Triton are checked.")
]
Url = Annotated[
    str | None,
    typer.Option(envvar="VERIPHOTO_TRITON_HTTP", help="Triton's HTTP address; by default that of `veriphoto serve`."),
]
Tolerance = Annotated[float, typer.Option(help="Largest difference in probability between Triton and offline.")]
Evaluation = Annotated[
    Path,
    typer.Option(envvar="VERIPHOTO_EVALUATION", help="Evaluation set: a folder with manifest.csv or real/ and ai/."),
]
Delivery = Annotated[
    list[str] | None,
    typer.Option(help="How the photos arrive: clean, web or hard; may be repeated. Clean and hard by default."),
]
Product = Annotated[
    list[str] | None,
    typer.Option(help="Source of real product photos that count false alarms, or a pattern; all real ones by default."),
]
PerClass = Annotated[
    int,
    typer.Option(min=2, help="Use at most this many photos of each class, chosen by hash; each takes about 0.2 s."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_VAR = Path("var")
_REPOSITORY = Path("model_repository")
_GOLDEN = Path("samples")


_extra = needs_extra("export")


def register(app: typer.Typer) -> None:
    """Adds this module's commands.

    Args:
        app: The command line to add to.
    """
    models = typer.Typer(no_args_is_help=True, help="The model registry: list, compare, promote and roll back models.")
    models.command("list")(_extra(list_models))
    models.command("show")(_extra(show))
    models.command("promote")(_extra(promote))
    models.command("rollback")(_extra(rollback))
    models.command("compare")(_extra(compare))
    models.command("shadow")(_extra(shadow))
    app.add_typer(models, name="models")


def list_models(
    var: Var = _VAR, name: Name = "veriphoto", model_repository: Repository = _REPOSITORY, as_json: AsJson = False
) -> None:
    """List the versions of the repository, which a running server has loaded, and the models of the registry."""
    from veriphoto_release import versions  # noqa: PLC0415 - a light command line without these

    published, serving = versions.published(model_repository), _serving(var, model_repository)
    registry = _registry(var, name)
    try:
        models = registry.models()
    except MissingExtraError as error:
        _say(f"the registry at {registry.uri} is left out: {error.message}")
        models = []
    if as_json:
        body = {
            "serving": serving,
            "next_start": max((each.number for each in published), default=None),
            "versions": [asdict(each) for each in published],
            "models": [_plain(model) for model in models],
        }
        typer.echo(json.dumps(body, indent=2))
        return
    listing.tell_versions(model_repository, published, serving)
    listing.tell_models(models, serving)


def show(
    model: Annotated[str, typer.Argument(help="Number in the registry, or champion or challenger.")],
    var: Var = _VAR,
    name: Name = "veriphoto",
) -> None:
    """Show one model as JSON: figures, lineage and every version it was served as."""
    typer.echo(json.dumps(_plain(_registry(var, name).find(model)), indent=2))


def promote(
    evaluation: Evaluation,
    model: Annotated[str, typer.Argument(help="Number in the registry, or an alias.")] = "challenger",
    model_repository: Repository = _REPOSITORY,
    var: Var = _VAR,
    name: Name = "veriphoto",
    golden: Golden = _GOLDEN,
    triton_url: Url = None,
    tolerance: Tolerance = TOLERANCE,
    delivery: Delivery = None,
    product_source: Product = None,
    max_per_class: PerClass = 400,
    margin_auroc: Annotated[float, typer.Option(min=0, help="How much lower AUROC may be.")] = MARGINS.auroc,
    margin_balanced_accuracy: Annotated[
        float, typer.Option(min=0, help="How much lower balanced accuracy may be.")
    ] = MARGINS.balanced_accuracy,
    margin_source: Annotated[
        float, typer.Option(min=0, help="How much lower the share of right answers in a source may be.")
    ] = MARGINS.source,
    margin_false_alarms: Annotated[
        float, typer.Option(min=0, help="How much higher the share of false alarms on product photos may be.")
    ] = MARGINS.false_alarms,
    without_second_opinion: Annotated[
        bool,
        typer.Option("--without-second-opinion", help="Let it replace a version with a second opinion without one."),
    ] = False,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote it even if figures are worse; the reason is kept.")
    ] = None,
) -> None:
    """Put a model into production if it is no worse than the present one; otherwise nothing changes."""
    from veriphoto_release import promotion  # noqa: PLC0415 - brings MLflow

    if force is not None and not force.strip():
        raise UsageError("--force needs a reason, which the registry keeps")
    margins = Margins(
        auroc=margin_auroc,
        balanced_accuracy=margin_balanced_accuracy,
        source=margin_source,
        false_alarms=margin_false_alarms,
    )
    judge, label = _judge(evaluation, max_per_class, delivery or (), product_source or (), margins)
    place = _place(model_repository, var, name, golden, triton_url, tolerance)
    done = promotion.promote(
        model,
        place,
        judge=lambda *both: _told(judge(*both)),  # also where the gate then refuses it
        evaluation=label,
        force=force or "",
        without_opinion=without_second_opinion,
        step=_say,
    )
    _tell(done)
    _end_shadow(done, var)


def rollback(
    to: Annotated[str | None, typer.Option(help="Model to go back to; the previous champion by default.")] = None,
    model_repository: Repository = _REPOSITORY,
    var: Var = _VAR,
    name: Name = "veriphoto",
    golden: Golden = _GOLDEN,
    triton_url: Url = None,
    tolerance: Tolerance = TOLERANCE,
) -> None:
    """Serve the previous champion again, under a new version number."""
    from veriphoto_release import promotion  # noqa: PLC0415 - brings MLflow

    place = _place(model_repository, var, name, golden, triton_url, tolerance)
    done = promotion.rollback(place, to=to, step=_say)
    _tell(done)
    _end_shadow(done, var)


def shadow(
    model: Annotated[str, typer.Argument(help="Number in the registry, or an alias.")] = "challenger",
    off: Annotated[bool, typer.Option("--off", help="End the shadow.")] = False,
    var: Var = _VAR,
    name: Name = "veriphoto",
) -> None:
    """Make the gateway score a share of its photos (serve --shadow-share) with this model too; see compare."""
    from veriphoto_release import shadow as shadows  # noqa: PLC0415

    if off:
        shadows.stop(var)
        typer.echo("no model is in the shadow")
        return
    registry = _registry(var, name)
    found = registry.find(model)
    typer.echo(f"model {found.number} is in the shadow: {shadows.start(registry, found, var)}")


def compare(
    evaluation: Annotated[
        Path | None,
        typer.Option(
            envvar="VERIPHOTO_EVALUATION", help="Evaluation set; without one, show only what the shadow has counted."
        ),
    ] = None,
    champion: Annotated[str, typer.Argument(help="Number or alias of the first model.")] = "champion",
    candidate: Annotated[str, typer.Argument(help="Number or alias of the second model.")] = "challenger",
    model_repository: Repository = _REPOSITORY,
    golden: Golden = _GOLDEN,
    var: Var = _VAR,
    name: Name = "veriphoto",
    delivery: Delivery = None,
    product_source: Product = None,
    max_per_class: PerClass = 400,
    as_json: AsJson = False,
) -> None:
    """Compare two models on an evaluation set, figure by figure, and show what the shadow has counted."""
    from veriphoto_release.shadow import tallies  # noqa: PLC0415

    if not as_json:
        listing.tell_shadow(tallies(var))
    elif evaluation is None:
        typer.echo(json.dumps(tallies(var), indent=2))
    if evaluation is None:
        return
    from veriphoto_export.pictures import find_pictures  # noqa: PLC0415
    from veriphoto_release import adoption, publish  # noqa: PLC0415 - bring MLflow
    from veriphoto_release.candidate import load_candidate  # noqa: PLC0415

    registry = _registry(var, name)
    if CHAMPION in (champion, candidate):
        with publish.repository_lock(model_repository):
            serving = _serving(var, model_repository)
            adoption.adopt(registry, model_repository, find_pictures(golden), version=serving)
    models = [registry.find(which) for which in (champion, candidate)]
    first, second = (
        load_candidate(registry.download(model), f"model {model.number}", sha256=model.sha256) for model in models
    )
    judge, _ = _judge(evaluation, max_per_class, delivery or (), product_source or (), MARGINS)
    rows = judge(first, second)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=2))
    else:
        listing.tell_rows(rows)


def _registry(var: Path, name: str) -> Registry:
    from veriphoto_release.registry import Registry  # noqa: PLC0415

    return Registry(var, name=name)


def _serving(var: Path, repository: Path) -> int | None:
    """Returns the version that a running server has loaded, or None where none answers."""
    from veriphoto_release.triton import find_triton  # noqa: PLC0415

    with suppress(VeriphotoError, ModuleNotFoundError):
        return find_triton(var, repository).served()
    return None


def _place(repository: Path, var: Path, name: str, golden: Path, url: str | None, tolerance: float) -> Place:
    from veriphoto_export.pictures import find_pictures  # noqa: PLC0415
    from veriphoto_release.promotion import Place  # noqa: PLC0415
    from veriphoto_release.triton import find_triton  # noqa: PLC0415

    return Place(
        registry=_registry(var, name),
        repository=repository,
        triton=find_triton(var, repository, url=url),
        golden=find_pictures(golden)[:16],
        tolerance=tolerance,
    )


def _judge(
    evaluation: Path, most: int, deliveries: Sequence[str], product: Sequence[str], margins: Margins
) -> tuple[Callable[[Any, Any], list[gate.Criterion]], str]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import track  # noqa: PLC0415

    from veriphoto_release import gate  # noqa: PLC0415
    from veriphoto_training.data.dataset import read_dataset, thin  # noqa: PLC0415
    from veriphoto_training.scoring.deliveries import DELIVERIES, ENDS  # noqa: PLC0415

    for name in deliveries:
        if name not in DELIVERIES:
            raise UsageError(f"there is no delivery '{name}'; choose from {', '.join(DELIVERIES)}")
    data = read_dataset(evaluation)
    pictures = thin(data.pictures, most)
    chosen = tuple(deliveries) or ENDS

    def judge(first: Any, second: Any) -> list[gate.Criterion]:
        return gate.compare(
            first,
            second,
            pictures,
            margins=margins,
            product_sources=product,
            deliveries=chosen,
            track=lambda each: track(each, description="comparing", console=Console(stderr=True)),
        )

    return judge, f"{evaluation.name}, {len(pictures)} pictures, {' and '.join(chosen)}, {data.fingerprint[:12]}"


def _told(rows: list[gate.Criterion]) -> list[gate.Criterion]:
    listing.tell_rows(rows)
    return rows


def _plain(model: RegisteredModel) -> dict[str, Any]:
    return asdict(model)


def _end_shadow(done: Change, var: Path) -> None:
    """Takes the model that now serves out of the shadow, where it would be compared with itself."""
    from veriphoto_release import shadow  # noqa: PLC0415 - what every command imports stays light

    if shadow.stop(var, only=done.model):
        typer.echo(f"model {done.model} is in the shadow no longer")


def _tell(done: Change) -> None:
    from veriphoto_release import promotion  # noqa: PLC0415 - brings MLflow

    before = f", after version {done.previous}" if done.previous else ""
    typer.echo(f"{done.action}: model {done.model} serves as version {done.version}{before}")
    if done.variant:
        typer.echo(f"Triton runs it as {done.variant}")
    if done.opinion_lost:
        _say(
            f"version {done.previous} has a second opinion and version {done.version} has none for this encoder: the "
            f"classifier now answers alone; fit one with: {promotion.fit_command(done.model)}"
        )


def _say(line: str) -> None:
    typer.echo(line, err=True)
