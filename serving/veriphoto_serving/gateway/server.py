"""Runs uvicorn with graceful drain."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from veriphoto.errors import StartupError
from veriphoto.telemetry import tracing
from veriphoto_client import Transport
from veriphoto_serving.gateway.app import create_app
from veriphoto_serving.gateway.log_filter import filter_logs
from veriphoto_serving.gateway.middleware.connection import guarded
from veriphoto_serving.gateway.middleware.connection_limits import SPARE
from veriphoto_serving.gateway.middleware.memory import return_large_blocks
from veriphoto_serving.gateway.services import Services
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.launcher import TritonServer

_BACKLOG: Final = 512
_SPARE_FILES: Final = 256
_SEND_BUFFER: Final = 256 * 1024


class GatewayServer(uvicorn.Server):
    """A uvicorn server that on shutdown fails readiness first, then stops listening, then finishes open requests."""

    def __init__(self, config: uvicorn.Config, services: Services, ready: Callable[[], None], *, wait: bool) -> None:
        """Starts nothing yet.

        Args:
            config: Configuration of uvicorn.
            services: The gateway's parts.
            ready: Called once requests are accepted.
            wait: Whether to call it only once Triton has scored a picture, too.
        """
        super().__init__(config)
        self._services = services
        self._ready: Callable[[], None] | None = ready
        self._wait = wait
        self._failure: Exception | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to stop.

        Raises:
            Exception: Whatever ``ready`` raised; the server then stops.
        """
        with tracing.exporting("veriphoto-gateway"):
            super().run(sockets)
        if self._failure is not None:
            raise self._failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts and calls ``ready``."""
        await super().startup(sockets)
        if self._wait and self._services.watchdog.state != "ok":
            self._services.watchdog.on_probe(self._say_so)
        else:
            self._say_so()

    def _say_so(self) -> None:
        ready, self._ready = self._ready, None
        if ready is None:
            return
        try:
            ready()
        except Exception as error:  # noqa: BLE001 - the caller may be the watchdog, which must keep running
            self._failure, self.should_exit = error, True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles the signals that end a service, without raising them again afterwards as uvicorn does."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread can handle signals
            return
        loop = asyncio.get_running_loop()
        endings = {signal.SIGTERM: self._services.settings.drain, signal.SIGHUP: 0.0, signal.SIGINT: 0.0}
        before = {ending: signal.getsignal(ending) for ending in endings}
        for ending, pause in endings.items():
            loop.add_signal_handler(ending, self.drain, pause)
        try:
            yield
        finally:
            for ending, handler in before.items():
                loop.remove_signal_handler(ending)
                signal.signal(ending, handler)

    def drain(self, pause: float) -> None:
        """Starts the shutdown; a second call stops at once.

        Args:
            pause: Seconds for load balancers to notice that readiness fails; requests are served meanwhile.
        """
        if self._services.draining:
            self.should_exit = True
            return
        self._services.draining = True
        asyncio.get_running_loop().call_later(pause, setattr, self, "should_exit", True)


def prepare(
    settings: GatewaySettings,
    *,
    server: TritonServer | None = None,
    transport: Transport | None = None,
    ready: Callable[[str], None] = lambda _: None,
) -> tuple[GatewayServer, socket.socket]:
    """Binds the port without serving yet.

    Args:
        settings: How the gateway runs.
        server: The Triton to watch over, if this process has started it.
        transport: Used to reach Triton instead of ``settings.triton_url``.
        ready: Called with the address once requests are accepted and, if ``server`` is given, pictures are scored.

    Returns:
        The server, and the socket that it listens on, which the caller closes.

    Raises:
        StartupError: If the address cannot be bound.
        UsageError: See ``create_app``.
    """
    return_large_blocks()
    filter_logs()
    app = create_app(settings, server=server, transport=transport)
    _allow_files(settings.max_connections + SPARE + _SPARE_FILES)
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        app,
        http=guarded(
            settings.header_timeout, settings.write_timeout, settings.max_connections, app.state.services.metrics.ended
        ),
        ws="none",
        loop="uvloop",
        log_config=None,
        log_level="error",  # lower levels log every malformed request
        backlog=_BACKLOG,
        access_log=False,  # it would log addresses and, in paths, whatever callers write there
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(settings.request_timeout + settings.upload_timeout) + 1,
    )
    return GatewayServer(config, app.state.services, lambda: ready(address), wait=server is not None), listener


def run(settings: GatewaySettings, *, ready: Callable[[str], None] = lambda _: None) -> None:
    """Serves in front of a Triton that runs elsewhere, until SIGTERM or Ctrl-C, on this thread. See ``prepare``."""
    gateway, listener = prepare(settings, ready=ready)
    with listener:
        gateway.run(sockets=[listener])


def _listen(settings: GatewaySettings) -> socket.socket:
    """Binds the port here rather than in uvicorn, which would exit the process if it is in use."""
    host, port = settings.gateway_host, settings.gateway_port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Inherited by connections. By default the kernel buffers 4 MB of unread answer for each of them.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            listener.bind(where)  # uvicorn listens once the application is ready
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StartupError(
            f"{host}:{port} cannot be listened on: {error}; choose another with --gateway-port"
        ) from error
    return listener


def _allow_files(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
