"""Every setting of the gateway, once: name, default, meaning. Command line and environment follow from it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from veriphoto.contract import GATEWAY_PORT, SIDECAR_PORT, TRITON_GRPC_PORT
from veriphoto.errors import UsageError
from veriphoto_serving.triton.ports import LOOPBACK

ENV_PREFIX: Final = "VERIPHOTO_"


def drift_url(port: int) -> str:
    """Returns where a drift monitor on this machine answers."""
    return f"http://{LOOPBACK}:{port}/drift"


DEFAULT_SIDECAR_URL: Final = drift_url(SIDECAR_PORT)
_MEGA: Final = 1_000_000
_PLACES_A_CORE: Final = 4
"""One being scored, three waiting: what is let in takes four times as long as on an idle machine, not longer."""
_MAY_BE_ZERO: Final = ("gateway_port", "rate_limit", "drain", "shadow_share", "max_in_flight")


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """How the gateway runs.

    Each field is also an option of the command line (``--max-in-flight``) and an environment variable
    (``VERIPHOTO_MAX_IN_FLIGHT``); its meaning stands once, beside it.
    """

    gateway_host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})
    gateway_port: int = field(default=GATEWAY_PORT, metadata={"help": "Port to listen on; 0 picks a free one."})
    triton_url: str = field(
        default=f"grpc://127.0.0.1:{TRITON_GRPC_PORT}", metadata={"help": "Triton's gRPC address: grpc://host:port."}
    )
    api_keys: str = field(
        default="",
        metadata={"help": "API keys, name=key,name=key. Command lines can be read by others: use the variable."},
    )
    api_keys_file: Path | None = field(default=None, metadata={"help": "File of API keys, one name=key a line."})
    allow_anonymous: bool = field(default=False, metadata={"help": "Listen beyond this machine without API keys."})
    cors_origins: str = field(
        default="", metadata={"help": "Web origins whose pages may call the API, separated by commas."}
    )
    rate_limit: int = field(default=0, metadata={"help": "Pictures a minute for each API key; 0 sets no limit."})
    rate_burst: int = field(
        default=60, metadata={"help": "Pictures that a key may send at once before the rate limit holds it."}
    )
    max_in_flight: int = field(
        default=0,
        metadata={"help": "Pictures at Triton at a time; more are refused at once. 0 is four for each core in sight."},
    )
    batch_in_flight: int = field(
        default=8, metadata={"help": "Of these, how many one batch may have; half of them at most."}
    )
    max_batch_files: int = field(default=20, metadata={"help": "Files in one batch."})
    max_batch_mb: int = field(default=100, metadata={"help": "Megabytes in one batch."})
    max_buffered_mb: int = field(
        default=500, metadata={"help": "Megabytes of uploads in memory at a time; more are refused."}
    )
    max_connections: int = field(default=2000, metadata={"help": "Connections at a time; more are closed at once."})
    header_timeout: float = field(default=10.0, metadata={"help": "Seconds in which a request's headers must arrive."})
    upload_timeout: float = field(default=20.0, metadata={"help": "Seconds in which a request's body must arrive."})
    request_timeout: float = field(default=10.0, metadata={"help": "Seconds in which Triton must have answered."})
    canary_interval: float = field(
        default=3.0, metadata={"help": "Seconds between the test pictures that the watchdog scores."}
    )
    canary_timeout: float = field(default=5.0, metadata={"help": "Seconds that a test picture may take."})
    drain: float = field(
        default=2.0, metadata={"help": "Seconds between failing readiness and closing the door, on SIGTERM."}
    )
    shadow_share: float = field(
        default=0.0,
        metadata={"help": "Share of pictures, 0 to 1, that the model of `veriphoto models shadow` scores too."},
    )
    shadow_var: Path | None = field(
        default=None, metadata={"help": "Directory whose shadow/ holds that model and its tally; var by default."}
    )
    review_database: str = field(
        default="",
        metadata={"help": "Takes feedback into this review database: sqlite:///FILE or postgresql://... ."},
    )
    feedback_keys: str = field(
        default="", metadata={"help": "Names of the API keys that may send feedback, separated by commas."}
    )
    sidecar_url: str = field(default=DEFAULT_SIDECAR_URL, metadata={"help": "Where the drift sidecar answers."})

    def __post_init__(self) -> None:
        """Refuses numbers that make no sense.

        Raises:
            UsageError: Naming the setting.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name in _MAY_BE_ZERO else 1e-3
            if isinstance(value, int | float) and not isinstance(value, bool) and value < least:
                raise UsageError(f"--{each.name.replace('_', '-')} {value} makes no sense; give a larger number")

    @property
    def places(self) -> int:
        """``max_in_flight``, counted out: what waits longer than a few pictures take is better refused."""
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
        """``max_buffered_mb`` in bytes."""
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
            Name -> key; empty where no key is needed.

        Raises:
            UsageError: If a key is malformed or the file cannot be read, or the gateway would be open to the world.
        """
        keys = _parse_keys(self.api_keys.replace(",", "\n"), "VERIPHOTO_API_KEYS")
        if self.api_keys_file is not None:
            try:
                keys |= _parse_keys(self.api_keys_file.read_text(encoding="utf-8"), str(self.api_keys_file))
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{self.api_keys_file} cannot be read: {error}; check --api-keys-file") from error
        if not keys and not self.local and not self.allow_anonymous:
            raise UsageError(
                f"{self.gateway_host} can be reached from other machines and there is no API key; set "
                "VERIPHOTO_API_KEYS or --api-keys-file, or --allow-anonymous if everyone may come in"
            )
        return keys


def environment_variable(name: str) -> str:
    """Returns the environment variable of a setting."""
    return f"{ENV_PREFIX}{name.upper()}"


_SHORTEST_KEY: Final = 16


def _parse_keys(text: str, where: str) -> dict[str, str]:
    keys = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition("="))
        # The key itself is never part of a message.
        if not name.replace("-", "").replace("_", "").isalnum() or len(key) < _SHORTEST_KEY or not key.isascii():
            raise UsageError(
                f"{where}, key {number}: write name=key, with a key of {_SHORTEST_KEY} ASCII characters or more"
            )
        keys[name] = key
    return keys
