"""The commands ``veriphoto serve`` and ``veriphoto gateway``."""

# ruff: noqa: RUF009 - option and port return a dataclass field
from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from veriphoto.contract import SIDECAR_PORT
from veriphoto.errors import MissingExtraError, StartupError, UsageError
from veriphoto.prediction_log.recorder import LOG_VARIABLE
from veriphoto.telemetry import logs, tracing
from veriphoto_client.commandline.options import option, port
from veriphoto_client.commandline.parameters import with_options
from veriphoto_client.page.command import PAGE_PORT
from veriphoto_serving.gateway.command import gateway
from veriphoto_serving.gateway.settings import DEFAULT_MONITOR_URL, GatewaySettings
from veriphoto_serving.secrecy import conceal
from veriphoto_serving.triton.options import TritonOptions

_SOME_FAILED: Final = 1
_COULD_NOT_RUN: Final = 2
_INTERRUPTED: Final = 130
_BESIDE: Final = "Web page and drift monitor"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """What ``veriphoto serve`` does besides running Triton and the gateway."""

    samples: Path = option(Path("samples"), "Folder of photos to score once the server is ready.")
    no_samples: bool = option(False, "Do not score any photos.", flag=True)
    demo: bool = option(False, "Stop after the samples; fail if one was not scored.", flag=True, variable=False)
    page: bool = option(False, "Serve the web page, too.", flag=True)
    page_port: int = port(PAGE_PORT, "Port of the web page", panel=_BESIDE)
    review: bool = option(
        False,
        "Take feedback, and with --page add the review desk; its database is review.db in --var by default.",
        flag=True,
    )
    no_monitor: bool = option(False, "Do not watch for drift.", flag=True)
    sidecar_port: int = port(SIDECAR_PORT, "Port of the drift monitor", panel=_BESIDE)
    variant: str = option(
        "auto",
        "What the embedded flavour runs: fp32, another variant of the version, or the fastest accepted one (auto).",
        panel="Triton",
    )


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(with_options(serve, leave_out=["triton_url"]))
    app.command()(with_options(gateway))


def serve(triton: TritonOptions, settings: GatewaySettings, options: ServeOptions) -> None:
    """Start Triton on this machine, score the sample photos, and serve the REST API until Ctrl-C.

    Every option but --demo is also an environment variable: --gateway-port is VERIPHOTO_GATEWAY_PORT.
    """
    if options.demo and options.no_samples:
        raise UsageError("--demo is about the samples; leave out --no-samples")
    # Child processes are started by fork and exec. Once gRPC runs, it would warn about each fork on the console.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        from veriphoto_serving.service import Front, serve_until_stopped  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("serving", error.name) from error
    conceal()
    logs.configure("serve")
    if triton.prediction_log is None:
        # An empty variable means "no log", but Click treats it as unset.
        triton = replace(triton, prediction_log=os.environ.get(LOG_VARIABLE))
    triton = replace(triton, traces_url=tracing.traces_url())
    os.environ["VERIPHOTO_VARIANT"] = options.variant  # read by the classifier's processes; unset, they run fp32
    # SIGTERM and a closed terminal end like Ctrl-C: the stack unwinds, which stops the server.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        database = settings.review_database
        if options.review and not database:
            database = f"sqlite:///{triton.var / 'review.db'}"
        # A drift monitor named by --sidecar-url runs already; the start says which one is asked.
        own = not options.no_monitor and settings.sidecar_url == DEFAULT_MONITOR_URL
        front = Front(
            gateway=replace(settings, shadow_var=settings.shadow_var or triton.var, review_database=database),
            page_port=options.page_port if options.page else None,
            review=options.review,
            monitor_port=options.sidecar_port if own else None,
        )
        samples = None if options.no_samples else options.samples
        failed = serve_until_stopped(triton, samples, None if options.demo else front)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except StartupError as error:
        # These messages contain lists and logs, whose line breaks the usual one-line error would lose.
        typer.echo(f"error: [{error.code}] {error.message}", err=True)
        raise typer.Exit(_COULD_NOT_RUN) from None
    if failed and options.demo:
        raise typer.Exit(_SOME_FAILED)
