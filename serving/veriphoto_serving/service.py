"""What ``veriphoto serve`` does: check the machine, start, score the samples, serve, stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from veriphoto.errors import MissingExtraError, UsageError
from veriphoto.locks import is_taken
from veriphoto.shared_names import MONITOR_FOLDER
from veriphoto_client import Detection
from veriphoto_serving import samples
from veriphoto_serving.gateway.server import prepare
from veriphoto_serving.gateway.settings import GatewaySettings, drift_url
from veriphoto_serving.monitor import serve_monitor
from veriphoto_serving.page import require_page, serve_page, with_page_key
from veriphoto_serving.rates import rate_line
from veriphoto_serving.triton import selfcheck
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import free_ports, obstacle
from veriphoto_serving.triton.selfcheck import Listener
from veriphoto_serving.truths import read_truths

_NEXT: Final = """Next:
  1. see it on a page:            make page, then open http://127.0.0.1:8501
  2. scan your own photos:        .venv/bin/veriphoto scan DIR --output verdicts.csv
  3. fit it to your real photos:  make train-env, then .venv/bin/veriphoto calibrate --real DIR"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """What is served in front of Triton."""

    gateway: GatewaySettings
    """``triton_url`` is filled in once Triton's port is known."""
    page_port: int | None = None
    """Port of the web page; None for no page."""
    review: bool = False
    """Whether the page has the review desk, on the gateway's review database."""
    monitor_port: int | None = None
    """Port of the drift monitor; None for no monitor."""


def serve_until_stopped(options: TritonOptions, folder: Path | None, front: Front | None) -> int:
    """Runs Triton and its front end until Ctrl-C, or Triton alone until the samples are scored.

    If Triton dies, the gateway's watchdog restarts it.

    Args:
        options: How to start Triton.
        folder: Folder of photos to score once it is ready; None for no samples.
        front: What to serve afterwards; None to stop instead.

    Returns:
        How many samples could not be scored.

    Raises:
        MissingExtraError: If what the page needs is not installed.
        UsageError: If only samples were requested and there are none, or if other machines could use the gateway
            without a key.
        StartupError: If the server cannot run here, or did not start.
        KeyboardInterrupt: On Ctrl-C during startup.
    """
    console = Console()
    if front and front.page_port is not None:
        require_page(front.gateway.review_database if front.review else "")
    pictures = _pictures(console, folder, needed=front is None)
    truths = read_truths(folder) if folder else {}
    server = TritonServer(options if front else options.on_free_ports())
    findings = selfcheck.run(server.options, server.installation, _listeners(front) if front else ())
    for finding in findings:
        if not finding.fatal:
            console.print(f"[yellow]{finding.check}: {escape(finding.message)}[/yellow]")
    selfcheck.require(findings)
    with contextlib.ExitStack() as stack:
        serve = _prepare_gateway(console, server, front, stack) if front else None
        scored = _start_and_score(console, server, pictures, stack)
        if scored:
            samples.show(console, scored, truths)
            _tell_rate(console, server.options, scored)
        if serve:
            serve()
        with console.status("stopping Triton ..."):
            server.stop()
    if front is None:
        console.print(_NEXT, soft_wrap=True, markup=False, highlight=False)
    return sum(sample.failed for sample in scored)


def _listeners(front: Front) -> list[Listener]:
    listeners = [Listener("--gateway-port", front.gateway.gateway_port, front.gateway.gateway_host)]
    if front.page_port is not None:
        listeners.append(Listener("--page-port", front.page_port))
    if front.monitor_port is not None:
        listeners.append(Listener("--sidecar-port", front.monitor_port, without="drift is not watched"))
    return listeners


def _start_and_score(
    console: Console, server: TritonServer, pictures: list[Path], stack: contextlib.ExitStack
) -> list[samples.SampleScore]:
    start = time.monotonic()
    with console.status("starting Triton ..."):
        stack.enter_context(server)
    _announce(console, server, time.monotonic() - start)
    with console.status("scoring the samples ..."):
        return list(samples.score(f"http://{server.http_url}", pictures))


def _tell_rate(console: Console, options: TritonOptions, scored: list[samples.SampleScore]) -> None:
    answers = [sample.answer for sample in scored if isinstance(sample.answer, Detection)]
    if answers:
        asked = any(answer.second_opinion.asked for answer in answers)
        version = answers[0].verdict.model_version
        console.print(rate_line(options.model_repository, version, opinion=asked), style="bold", soft_wrap=True)


def _prepare_gateway(
    console: Console, server: TritonServer, front: Front, stack: contextlib.ExitStack
) -> Callable[[], None]:
    """Binds the gateway's port before Triton is started.

    Returns:
        A function that serves until Ctrl-C.
    """
    settings = replace(front.gateway, triton_url=f"grpc://{server.grpc_url}")
    watch = _monitor(console, server, front.monitor_port, stack)
    if front.monitor_port is not None:
        # What has taken the port may be another server's monitor, whose drift is not ours.
        settings = replace(settings, sidecar_url=watch[0] if watch else "")
    key = ""
    desk = settings.review_database if front.review else ""
    if front.page_port is not None:
        settings, key = with_page_key(settings)

    def ready(address: str) -> None:
        if watch is not None:
            watch[1]()
        elif front.monitor_port is None:
            console.print(_monitor_elsewhere(settings.sidecar_url), soft_wrap=True, markup=False)
        console.print(f"[bold green]Veriphoto serves at {address}[/bold green], documented at {address}/docs")
        if front.page_port is not None:
            page = stack.enter_context(serve_page(address, front.page_port, key, server.options.var, desk))
            console.print(f"[bold green]the web page is at {page}[/bold green]")
        console.print("Ctrl-C stops it.")

    gateway, listener = prepare(settings, server=server, ready=ready)
    stack.enter_context(listener)
    return lambda: gateway.run(sockets=[listener])


def _monitor(
    console: Console, server: TritonServer, port: int | None, stack: contextlib.ExitStack
) -> tuple[str, Callable[[], None]] | None:
    """Chooses the address of the drift monitor.

    Returns:
        The address, and a function that starts the monitor once there is something to watch; None for no monitor.
        Scoring does not depend on it, so a failure to start is reported and stops nothing else.
    """
    if port is None:
        return None
    chosen = port or free_ports(1, avoid=server.options.ports)[0]
    if obstacle(chosen):
        return None  # the self-check has said so
    folder = server.options.var / MONITOR_FOLDER
    if is_taken(folder):  # by the monitor of another server, which sees our records, too, if they are in this --var
        console.print(
            f"[yellow]drift is not watched: another drift monitor uses {escape(str(folder))}; name it with "
            "--sidecar-url, or choose another --var[/yellow]",
            soft_wrap=True,
        )
        return None

    report = drift_url(chosen)

    def start() -> None:
        try:
            stack.enter_context(serve_monitor(server.options, chosen))
        except (MissingExtraError, OSError) as error:
            console.print(f"[yellow]drift is not watched: {escape(str(error))}[/yellow]")
        else:
            console.print(f"drift is watched: {report}", soft_wrap=True)

    return report, start


def _monitor_elsewhere(url: str) -> str:
    asked = f"the gateway asks the one at {url}" if url else "the gateway asks none"
    return f"no drift monitor is started here: {asked}"


def _pictures(console: Console, folder: Path | None, *, needed: bool) -> list[Path]:
    pictures = samples.find(folder) if folder else []
    if folder and not pictures:
        missing = f"there is no picture in {folder}; name a folder of photos with --samples"
        if needed:
            raise UsageError(missing)
        console.print(f"[yellow]{escape(missing)}[/yellow]")
    return pictures


def _announce(console: Console, server: TritonServer, seconds: float) -> None:
    console.print(
        f"Triton is ready after {seconds:.1f} s: http://{server.http_url}, gRPC {server.grpc_url}, metrics "
        f"http://{server.metrics_url}/metrics, this machine only",
        soft_wrap=True,
    )
    console.print(f"log {escape(str(server.log))}", soft_wrap=True)
