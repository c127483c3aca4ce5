"""What ``veriphoto serve`` does: check, start, prove, stay, stop."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from veriphoto.errors import ServiceUnavailableError, UsageError
from veriphoto_serving import samples, selfcheck
from veriphoto_serving.launcher import TritonServer
from veriphoto_serving.options import TritonOptions

_LOOK_S: Final = 0.5


def serve_until_stopped(options: TritonOptions, folder: Path | None, *, stay: bool) -> int:
    """Runs Triton until Ctrl-C, or until the samples are scored.

    Args:
        options: How to start it.
        folder: Photos to score once it is ready; None for none.
        stay: Whether to serve on after that.

    Returns:
        How many samples could not be scored.

    Raises:
        UsageError: If there are no samples although they are all that was asked for.
        StartupError: If the server cannot run here, or did not start.
        ServiceUnavailableError: If it died while it served.
        KeyboardInterrupt: On Ctrl-C before it served.
    """
    console = Console()
    pictures = _pictures(console, folder, needed=not stay)
    server = TritonServer(options)
    findings = selfcheck.run(server.options, server.installation)
    for finding in findings:
        if not finding.fatal:
            console.print(f"[yellow]{finding.check}: {escape(finding.message)}[/yellow]")
    selfcheck.require(findings)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        with console.status("starting Triton ..."):
            stack.enter_context(server)
        _announce(console, server, time.monotonic() - start)
        scored = list(samples.score(f"http://{server.http_url}", pictures))
        if scored:
            samples.show(console, scored)
        if stay:
            _stay(console, server)
        with console.status("stopping Triton ..."):
            server.stop()
    return sum(sample.failed for sample in scored)


def _pictures(console: Console, folder: Path | None, *, needed: bool) -> list[Path]:
    pictures = samples.find(folder) if folder else []
    if folder and not pictures:
        missing = f"there is no JPEG, PNG or WebP file in {folder}; name a folder of photos with --samples"
        if needed:
            raise UsageError(missing)
        console.print(f"[yellow]{escape(missing)}[/yellow]")
    return pictures


def _announce(console: Console, server: TritonServer, seconds: float) -> None:
    console.print(
        f"[bold green]Veriphoto serves at http://{server.http_url}[/bold green] (ready after {seconds:.1f} s)"
    )
    console.print(f"gRPC {server.grpc_url}, metrics http://{server.metrics_url}/metrics, this machine only")
    console.print(f"log {escape(str(server.log))}", soft_wrap=True)


def _stay(console: Console, server: TritonServer) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        console.print("Ctrl-C stops it.")
        while server.is_alive():
            time.sleep(_LOOK_S)
        raise ServiceUnavailableError(f"Triton has ended by itself; the end of its log:\n{server.log_tail()}")
