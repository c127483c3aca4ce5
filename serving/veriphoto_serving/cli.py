"""The commands ``veriphoto serve`` and ``veriphoto gateway``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from veriphoto.contract import SIDECAR_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT
from veriphoto.errors import MissingExtraError, StartupError, UsageError
from veriphoto.prediction_log.recorder import LOG_VARIABLE, SIZE_VARIABLE
from veriphoto.prediction_log.segments import DEFAULT_MEGABYTES
from veriphoto_client.page.command import PAGE_PORT
from veriphoto_serving.gateway.command import gateway, with_settings
from veriphoto_serving.gateway.settings import DEFAULT_SIDECAR_URL, GatewaySettings
from veriphoto_serving.triton.options import Flavour, TritonOptions

_SOME_FAILED: Final = 1
_COULD_NOT_RUN: Final = 2
_INTERRUPTED: Final = 130


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(with_settings(serve, leave_out=["triton_url"]))
    app.command()(with_settings(gateway))


def serve(
    settings: dict[str, Any],
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
    var: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory for everything written at run time.")
    ] = Path("var"),
    http_port: Annotated[
        int, typer.Option(envvar="VERIPHOTO_HTTP_PORT", min=0, max=65535, help="Port of HTTP; 0 picks a free one.")
    ] = TRITON_HTTP_PORT,
    grpc_port: Annotated[
        int, typer.Option(envvar="VERIPHOTO_GRPC_PORT", min=0, max=65535, help="Port of gRPC; 0 picks a free one.")
    ] = TRITON_GRPC_PORT,
    metrics_port: Annotated[
        int,
        typer.Option(envvar="VERIPHOTO_METRICS_PORT", min=0, max=65535, help="Port of metrics; 0 picks a free one."),
    ] = TRITON_METRICS_PORT,
    flavour: Annotated[
        Flavour | None,
        typer.Option(envvar="VERIPHOTO_FLAVOUR", help="How the classifier runs; by default as the server here can."),
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            envvar="VERIPHOTO_VARIANT",
            help="What the embedded classifier runs: fp32, another variant of the version, auto the fastest accepted.",
        ),
    ] = "auto",
    prediction_log: Annotated[
        str | None,
        typer.Option(
            envvar=LOG_VARIABLE, help="Directory of the prediction log; predictions in --var by default, '' for none."
        ),
    ] = None,
    prediction_log_mb: Annotated[
        float, typer.Option(envvar=SIZE_VARIABLE, min=1, help="Largest size of the prediction log in megabytes.")
    ] = DEFAULT_MEGABYTES,
    samples: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_SAMPLES", help="Folder of photos to score once the server is ready.")
    ] = Path("samples"),
    no_samples: Annotated[
        bool, typer.Option("--no-samples", envvar="VERIPHOTO_NO_SAMPLES", help="Score no photos.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Stop after the samples; fail if one was not scored.")] = False,
    page: Annotated[bool, typer.Option("--page", envvar="VERIPHOTO_PAGE", help="Serve the web page too.")] = False,
    page_port: Annotated[
        int, typer.Option(envvar="VERIPHOTO_PAGE_PORT", min=0, max=65535, help="Port of the page; 0 picks a free one.")
    ] = PAGE_PORT,
    review: Annotated[
        bool,
        typer.Option(
            "--review",
            envvar="VERIPHOTO_REVIEW",
            help="Take feedback, and with --page add the review desk; its database is review.db in --var by default.",
        ),
    ] = False,
    no_monitor: Annotated[
        bool, typer.Option("--no-monitor", envvar="VERIPHOTO_NO_MONITOR", help="Do not watch for drift.")
    ] = False,
    sidecar_port: Annotated[
        int,
        typer.Option(
            envvar="VERIPHOTO_SIDECAR_PORT", min=0, max=65535, help="Port of the drift monitor; 0 picks a free one."
        ),
    ] = SIDECAR_PORT,
) -> None:
    """Start Triton on this machine, score the sample photos, and serve the REST API until Ctrl-C."""
    if demo and no_samples:
        raise UsageError("--demo is about the samples; leave out --no-samples")
    try:
        from veriphoto_serving.service import Front, serve_until_stopped  # noqa: PLC0415 - a light command line without it
    except ImportError as error:
        raise MissingExtraError("serving", error.name) from error
    options = TritonOptions(
        model_repository=model_repository,
        var=var,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        flavour=flavour,
        # An empty variable says "no log"; the command line's library takes it for none.
        prediction_log=os.environ.get(LOG_VARIABLE) if prediction_log is None else prediction_log,
        prediction_log_mb=prediction_log_mb,
    )
    os.environ["VERIPHOTO_VARIANT"] = variant  # read by the classifier's processes; unset, they run fp32
    # `kill` and a terminal that closes end as Ctrl-C does: by unwinding, which stops the server.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        settings["shadow_var"] = settings["shadow_var"] or var
        if review:
            settings["review_database"] = settings["review_database"] or f"sqlite:///{var / 'review.db'}"
        chosen = GatewaySettings(**settings)
        # Whoever names a monitor has one already.
        own = not no_monitor and chosen.sidecar_url == DEFAULT_SIDECAR_URL
        front = Front(
            gateway=chosen,
            page_port=page_port if page else None,
            review=review,
            monitor_port=sidecar_port if own else None,
        )
        failed = serve_until_stopped(options, None if no_samples else samples, None if demo else front)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except StartupError as error:
        # Their lists and logs need their lines, which the command line's one-line form of an error would join.
        typer.echo(f"error: [{error.code}] {error.message}", err=True)
        raise typer.Exit(_COULD_NOT_RUN) from None
    if failed and demo:
        raise typer.Exit(_SOME_FAILED)
