"""The drift monitor as a service: a worker thread, and a small web server that reports its results."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from veriphoto.errors import StartupError
from veriphoto.shared_names import MONITOR_FOLDER, REVIEW_FILE
from veriphoto_monitoring.canary.results import RESULTS_FILE, CanaryCollector
from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.drift.store import Store
from veriphoto_monitoring.input.scraper import Scraper
from veriphoto_monitoring.reference.sources import BASELINE, Sources
from veriphoto_monitoring.report.exporter import DriftCollector
from veriphoto_monitoring.report.html import render
from veriphoto_monitoring.report.review import ReviewCollector, review_summary
from veriphoto_monitoring.report.status import describe
from veriphoto_monitoring.settings import MonitorSettings
from veriphoto_monitoring.stats.budget import Budget

DATABASE: Final = "monitor.sqlite"
_POLL_S: Final = 1.0
_SCRAPE_S: Final = 15.0
_DESCRIBE_S: Final = 2.0
_STUCK_S: Final = 60.0
_STILL: Final = "the monitor stands still; see its log"
_BACKLOG: Final = 128
_log = logging.getLogger(__name__)


class Service:
    """Owns the worker; the web server only reads the status that it publishes."""

    def __init__(self, settings: MonitorSettings) -> None:
        """Opens the store, so that a wrong path is reported at once.

        Raises:
            StartupError: If the store cannot be used.
        """
        self._settings = settings
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._monitor = self._open()
        self._status = describe(self._monitor, time.time())
        self._described = time.monotonic()
        self._alive = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="monitor", daemon=True)
        self._on_failure: Callable[[], object] = lambda: None
        self.failure: Exception | None = None
        """What ended the worker, if it did not end as it should."""

    def start(self, on_failure: Callable[[], object] = lambda: None) -> None:
        """Starts the worker.

        Args:
            on_failure: Called from the worker's thread if it ends by an error.
        """
        self._on_failure = on_failure
        self._thread.start()

    def stop(self) -> None:
        """Stops the worker after its current transaction."""
        self._stop.set()
        self._thread.join(timeout=10.0)
        with self._lock:
            self._monitor.store.close()

    def status(self) -> dict[str, Any]:
        """Returns the latest status, and what reviewers found; of a worker that stands still, nothing about drift."""
        status = {**self._status, "review": review_summary(self.reviews)}
        return status if self.healthy() else {**status, "status": _STILL, "drift_detected": None}

    @property
    def canaries(self) -> Path:
        """The file with the results of ``veriphoto canary``."""
        return self._settings.var / RESULTS_FILE

    @property
    def reviews(self) -> Path:
        """Where ``veriphoto review report --metrics`` leaves its figures."""
        return self._settings.var / REVIEW_FILE

    def healthy(self) -> bool:
        """Returns whether the worker works: it has not ended, is not stuck, and its store holds what it finds."""
        return self._thread.is_alive() and time.monotonic() - self._alive < _STUCK_S

    def report(self) -> str:
        """Renders the HTML report."""
        with self._lock:
            return render(self._monitor, self.status())

    def _open(self) -> DriftMonitor:
        directory = self._settings.var / MONITOR_FOLDER
        sources = Sources(directory / BASELINE, self._settings.model_repository)
        store = Store(directory / DATABASE)
        budget = Budget(per_day=self._settings.false_alarms, images_per_day=self._settings.images_per_day)
        return DriftMonitor(store, self._settings.predictions, sources, budget, Scraper(self._settings.tritons))

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - without its worker the monitor would repeat its last status for ever
            self.failure = error
            self._on_failure()

    def _run(self) -> None:
        scraped = float("-inf")
        while not self._stop.is_set():
            try:
                with self._lock:
                    done = self._monitor.work(_POLL_S)
                    if time.monotonic() - scraped >= _SCRAPE_S:
                        scraped = time.monotonic()
                        self._monitor.scrape(time.time())
                    self._describe()
                self._alive = time.monotonic()
            except (sqlite3.Error, StartupError) as error:
                # Memory may be ahead of the disk now, so start over from the disk.
                _log.error("the store failed (%s); starting over from its content", error)
                self._stop.wait(_SCRAPE_S)
                self._begin_again()
                continue
            if done:
                self._stop.wait(_POLL_S)

    def _describe(self) -> None:
        if time.monotonic() - self._described >= _DESCRIBE_S:
            self._described = time.monotonic()
            self._status = describe(self._monitor, time.time())

    def _begin_again(self) -> None:
        with self._lock:
            try:
                self._monitor.store.close()
                self._monitor = self._open()
            except (sqlite3.Error, StartupError) as error:
                _log.error("the store cannot be opened: %s", error)


def build(service: Service) -> FastAPI:
    """Builds the web server's application.

    Args:
        service: The service; it may be started later.
    """
    app = FastAPI(title="Veriphoto drift", docs_url=None, redoc_url=None, openapi_url=None)
    registry = CollectorRegistry()
    registry.register(DriftCollector(service.status))
    registry.register(CanaryCollector(service.canaries))
    registry.register(ReviewCollector(service.reviews))

    @app.get("/drift")
    async def drift() -> dict[str, Any]:
        return service.status()

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/report")
    def report() -> HTMLResponse:  # not async: it waits for the worker, in a thread
        return HTMLResponse(service.report())

    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        if service.healthy():
            return {"status": "ok"}
        response.status_code = 503
        return {"status": _STILL}

    return app


def run(settings: MonitorSettings, ready: Callable[[str], object]) -> None:
    """Runs until Ctrl-C or SIGTERM.

    Args:
        settings: The monitor's settings.
        ready: Called with the address once it listens.

    Raises:
        StartupError: If the store or the port cannot be used.
        Exception: What ended the worker, so that whoever keeps this process starts another.
    """
    service = Service(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            build(service),
            host=settings.host,
            port=settings.port,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
    )
    try:
        socket = server.config.bind_socket()
    except SystemExit:  # uvicorn exits if the port is in use
        raise StartupError(
            f"port {settings.port} of {settings.host} cannot be used; choose another with --port"
        ) from None
    socket.listen(_BACKLOG)  # so that clients may connect as soon as they know the address
    service.start(lambda: setattr(server, "should_exit", True))
    ready(f"http://{settings.host}:{socket.getsockname()[1]}")
    try:
        server.run(sockets=[socket])
    finally:
        service.stop()
    if service.failure is not None:
        raise service.failure
