"""The settings of the gateway. Command line options and environment variables are derived from them."""

# ruff: noqa: RUF009 - option and port return a dataclass field
from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import ANONYMOUS, GATEWAY_PORT, SIDECAR_PORT, TRITON_GRPC_PORT
from veriphoto.errors import UsageError
from veriphoto_client.addresses import split_address
from veriphoto_client.commandline.options import option, options_of, port
from veriphoto_serving.triton.ports import LOOPBACK

_ACCESS: Final = "Gateway: access"
_LIMITS: Final = "Gateway: limits"
_TIMES: Final = "Gateway: timeouts"
_REVIEW: Final = "Review and feedback"
_OBSERVING: Final = "Drift and shadow scoring"


def drift_url(port: int) -> str:
    """Returns the address of a drift monitor on this machine."""
    return f"http://{LOOPBACK}:{port}/drift"


DEFAULT_MONITOR_URL: Final = drift_url(SIDECAR_PORT)
_MEGA: Final = 1_000_000
_PLACES_A_CORE: Final = 4
"""One is being scored, three wait: an admitted picture takes at most four times as long as on an idle machine."""
_LEAST: Final = 1e-3
"""Smallest number of a setting that declares no bound of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """How the gateway runs.

    Each field is also an option (``--max-in-flight``) and an environment variable (``VERIPHOTO_MAX_IN_FLIGHT``).
    """

    gateway_host: str = option("127.0.0.1", "Address that the REST gateway listens on.")
    gateway_port: int = port(GATEWAY_PORT, "Port of the REST gateway")
    triton_url: str = option(f"grpc://127.0.0.1:{TRITON_GRPC_PORT}", "Triton's gRPC address: grpc://host:port.")
    api_keys_file: Path | None = option(None, "File of API keys, one name=key per line.")
    api_keys: str = option(
        "",
        "API keys, name=key,name=key. Other users can read command lines: prefer VERIPHOTO_API_KEYS or the file.",
        panel=_ACCESS,
        secret=True,
    )
    allow_anonymous: bool = option(
        False, "Accept requests from other machines although there are no API keys.", panel=_ACCESS
    )
    cors_origins: str = option("", "Web origins whose pages may call the API, separated by commas.", panel=_ACCESS)
    rate_limit: int = option(0, "Photos per minute for each API key; 0 for no limit.", panel=_ACCESS, least=0)
    rate_burst: int = option(60, "Photos that a key may send at once before the rate limit applies.", panel=_ACCESS)
    max_in_flight: int = option(
        0,
        "Photos at Triton at a time; more wait 20 ms and are refused then. 0 allows four per CPU core.",
        panel=_LIMITS,
        least=0,
    )
    batch_in_flight: int = option(
        8, "Photos of one batch at Triton at a time; never more than half of --max-in-flight.", panel=_LIMITS
    )
    max_batch_files: int = option(20, "Files in one batch.", panel=_LIMITS)
    max_batch_mb: int = option(100, "Megabytes in one batch.", panel=_LIMITS)
    max_buffered_mb: int = option(
        0,
        "Megabytes of uploads in memory at a time, copies included; more are refused. "
        "0 allows 500, or what the container's memory limit leaves.",
        panel=_LIMITS,
        least=0,
    )
    max_connections: int = option(
        2000, "Open connections; beyond that, the one that was idle longest is closed.", panel=_LIMITS
    )
    header_timeout: float = option(10.0, "Seconds for a request's headers to arrive.", panel=_TIMES)
    write_timeout: float = option(
        10.0, "Seconds after which a client that reads nothing of its answer is cut off.", panel=_TIMES
    )
    upload_timeout: float = option(20.0, "Seconds for a request's body to arrive.", panel=_TIMES)
    request_timeout: float = option(10.0, "Seconds for Triton to answer.", panel=_TIMES)
    canary_interval: float = option(3.0, "Seconds between the watchdog's probes of Triton.", panel=_TIMES)
    canary_timeout: float = option(5.0, "Seconds that a probe may take.", panel=_TIMES)
    drain: float = option(
        2.0, "Seconds between failing readiness and closing the port, on SIGTERM.", panel=_TIMES, least=0
    )
    shadow_share: float = option(
        0.0,
        "Share of photos, 0 to 1, that the model of `veriphoto models shadow` scores too.",
        panel=_OBSERVING,
        least=0,
        most=1,
    )
    shadow_var: Path | None = option(
        None, "Directory whose shadow/ holds that model and its tally; --var by default.", panel=_OBSERVING
    )
    review_database: str = option(
        "",
        "Review database that feedback goes to: sqlite:///FILE or postgresql://... .",
        panel=_REVIEW,
        secret=True,
    )
    feedback_keys: str = option("", "Names of the API keys that may send feedback, separated by commas.", panel=_REVIEW)
    sidecar_url: str = option(DEFAULT_MONITOR_URL, "Address of the drift monitor.", panel=_OBSERVING)

    def __post_init__(self) -> None:
        """Rejects numbers that are too small or too large, and a monitor that could never be asked.

        Raises:
            UsageError: Naming the setting.
        """
        for each, bounds in options_of(type(self)):
            value, name = getattr(self, each.name), f"--{each.name.replace('_', '-')}"
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not value >= (_LEAST if bounds.least is None else bounds.least):
                raise UsageError(f"{name} {value} is too small; use a larger number")
            if bounds.most is not None and value > bounds.most:
                raise UsageError(f"{name} {value} is too large; use {bounds.most:g} or less")
        if self.sidecar_url and split_address(self.sidecar_url, "http", "https") is None:
            raise UsageError(f"--sidecar-url {self.sidecar_url} is not an address of the form http://host:port/drift")

    @property
    def places(self) -> int:
        """``max_in_flight`` with its default resolved: refusing is better than making a picture wait long."""
        return self.max_in_flight or _PLACES_A_CORE * len(os.sched_getaffinity(0))

    @property
    def origins(self) -> list[str]:
        """``cors_origins`` as a list."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @property
    def max_batch_bytes(self) -> int:
        """``max_batch_mb`` in bytes."""
        return self.max_batch_mb * _MEGA

    @property
    def max_buffered_bytes(self) -> int:
        """``max_buffered_mb`` in bytes; 0 if the container's memory limit decides."""
        return self.max_buffered_mb * _MEGA

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the gateway."""
        try:
            return ipaddress.ip_address(self.gateway_host).is_loopback
        except ValueError:
            return self.gateway_host == "localhost"

    def keys(self) -> dict[str, str]:
        """Reads the API keys.

        Returns:
            The keys by name; empty if no key is needed.

        Raises:
            UsageError: If a key is malformed, its name is taken or the file cannot be read, or the gateway would be
                open to the world.
        """
        keys: dict[str, str] = {}
        _add_keys(keys, self.api_keys.replace(",", "\n"), "VERIPHOTO_API_KEYS")
        if self.api_keys_file is not None:
            try:
                text = self.api_keys_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{self.api_keys_file} cannot be read: {error}; check --api-keys-file") from error
            _add_keys(keys, text, str(self.api_keys_file))
        if not keys and not self.local and not self.allow_anonymous:
            raise UsageError(
                f"{self.gateway_host} can be reached from other machines and there is no API key; set "
                "VERIPHOTO_API_KEYS or --api-keys-file, or --allow-anonymous to let everybody use it"
            )
        return keys


_SHORTEST_KEY: Final = 16


def _add_keys(keys: dict[str, str], text: str, where: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition("="))
        # Messages never contain the key itself.
        if not name.replace("-", "").replace("_", "").isalnum() or len(key) < _SHORTEST_KEY or not key.isascii():
            raise UsageError(
                f"{where}, key {number}: write name=key, with a key of {_SHORTEST_KEY} ASCII characters or more"
            )
        if name == ANONYMOUS:
            raise UsageError(f"{where}, key {number}: {name} stands for callers without a key; give it another name")
        if name in keys:
            raise UsageError(f"{where}, key {number}: there is a key named {name} already; give each a name of its own")
        keys[name] = key
