"""Shadow scoring: a challenger scores a share of the pictures too, in its own process, after the answer was sent.

The gateway offers a picture and carries on. The queue is short and pictures that do not fit are dropped and counted, so
no answer ever waits for the challenger. The process runs at low priority and keeps one tally per pair of served version
and challenger in ``var/shadow/tally.json``, which ``veriphoto models compare`` shows. It stores no picture and no name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import multiprocessing
import os
import queue
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.contract import CROPS, PROBABILITY
from veriphoto.errors import ImageError, MissingExtraError, ModelError
from veriphoto.manifest import ONNX_FILE, read_manifest, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto.shared_names import CHALLENGER_FOLDER, NUMBER_FILE, SHADOW_FOLDER, TALLY_FILE
from veriphoto.telemetry import logs

_LOG: Final = logging.getLogger(__name__)
_WAITING: Final = 4
_NICE: Final = 10
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One answered picture."""

    data: bytes
    version: int
    probability: float
    threshold: float
    dropped: int = 0
    """Pictures that did not fit into the queue since the offer before."""


@dataclass(slots=True)
class ShadowTally:
    """How one challenger compares with one served version."""

    pictures: int = 0
    agreed: int = 0
    """Pictures that both put on the same side, each at its own threshold."""
    only_challenger: int = 0
    """Pictures that only the challenger calls AI-generated."""
    only_champion: int = 0
    """Pictures that only the served version calls AI-generated."""
    difference_sum: float = 0.0
    difference_max: float = 0.0
    dropped: int = 0
    """Pictures that were offered and not scored, because the queue was full."""

    def add(self, champion: bool, challenger: bool, difference: float) -> None:
        """Counts one picture.

        Args:
            champion: Whether the served version calls it AI-generated.
            challenger: Whether the challenger does.
            difference: Difference between their probabilities.
        """
        self.pictures += 1
        self.agreed += champion == challenger
        self.only_challenger += challenger and not champion
        self.only_champion += champion and not challenger
        self.difference_sum += abs(difference)
        self.difference_max = max(self.difference_max, abs(difference))


class Shadow:
    """The gateway's end of shadow scoring."""

    def __init__(self, var: Path, share: float) -> None:
        """Starts the process if the share is above 0.

        Args:
            var: Directory of everything written at run time.
            share: Share of the pictures to score, 0 to 1.

        Raises:
            MissingExtraError: If the share is above 0 and what runs the challenger is not installed.
        """
        self.dropped = 0
        self._told = 0
        self._share = share
        self._process: Any = None
        if share > 0:
            if importlib.util.find_spec("onnxruntime") is None:
                raise MissingExtraError("local", "onnxruntime")
            spawn = multiprocessing.get_context("spawn")
            self._queue: Any = spawn.Queue(_WAITING)
            self._process = spawn.Process(
                target=work, args=(self._queue, var / SHADOW_FOLDER, os.getpid()), daemon=True
            )
            self._process.start()

    def offer(self, data: bytes, version: int, probability: float, threshold: float) -> None:
        """Offers an answered picture; returns at once.

        The share is chosen by the picture's hash, so the same picture is always in it or always out of it.
        """
        if self._process is None or fraction(data) >= self._share:
            return
        try:
            self._queue.put_nowait(Offer(data, version, probability, threshold, self.dropped - self._told))
            self._told = self.dropped
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.join(_PATIENCE_S)
            self._queue.cancel_join_thread()
            self._queue.close()
            self._process = None


def fraction(data: bytes) -> float:
    """Hashes a picture to a number in 0..1 that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2.0**64


def work(offers: Any, folder: Path, parent: int) -> None:
    """Runs in the process: scores what is offered until the gateway is gone.

    Args:
        offers: A queue of ``Offer``.
        folder: ``var/shadow``.
        parent: Process id of the gateway.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the gateway handles Ctrl-C
    os.nice(_NICE)
    logs.configure("shadow")
    challenger = _Challenger(folder / CHALLENGER_FOLDER)
    while os.getppid() == parent:
        with contextlib.suppress(queue.Empty):
            compare_one(offers.get(timeout=_PATIENCE_S), challenger, folder)


def compare_one(offer: Offer, challenger: _Challenger, folder: Path) -> None:
    """Scores one picture and counts it; does nothing if there is no challenger.

    Whatever fails is logged: the process must be there for the next challenger.
    """
    try:
        if challenger.ready():
            _count(offer, challenger, folder)
    except ImageError:
        pass
    except Exception as error:  # noqa: BLE001 - errors of what runs the graph share no base
        challenger.complain(error)


def _count(offer: Offer, challenger: _Challenger, folder: Path) -> None:
    probability = challenger.probability(offer.data)
    tallies = read_tallies(folder)
    tally = tallies.setdefault(f"version {offer.version}, model {challenger.number}", ShadowTally())
    called = (offer.probability >= offer.threshold, probability >= challenger.threshold)
    tally.dropped += offer.dropped
    tally.add(*called, probability - offer.probability)
    fresh = folder / f"{TALLY_FILE}.new"
    fresh.write_text(json.dumps({name: asdict(each) for name, each in tallies.items()}), encoding="utf-8")
    fresh.replace(folder / TALLY_FILE)


def read_tallies(folder: Path) -> dict[str, ShadowTally]:
    """Reads the tallies.

    Args:
        folder: ``var/shadow``.

    Returns:
        Tallies by "version N, model M"; empty if nothing was counted.
    """
    try:
        body = json.loads((folder / TALLY_FILE).read_text(encoding="utf-8"))
        return {name: ShadowTally(**each) for name, each in body.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


class _Challenger:
    """The current challenger; another one replaces it as soon as its files are in place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._session: Any = None
        self._complaint = ""
        self.number = ""
        self.threshold = 0.5

    def ready(self) -> bool:
        """Loads a new model if there is one, and tries each once; returns whether there is a model."""
        try:
            found = self._folder.stat()
        except OSError:
            self._seen, self._session = None, None
            return False
        seen = (found.st_ino, found.st_ctime_ns)  # a later folder may get the number of one that is gone
        if seen != self._seen:
            self._seen, self._session = seen, None
            self._load()
        return self._session is not None

    def complain(self, error: Exception) -> None:
        """Logs why nothing is counted; the same reason once."""
        # What other errors say may be about the picture.
        said = str(error) if isinstance(error, ModelError | OSError | ImportError) else type(error).__name__
        if said != self._complaint:
            self._complaint = said
            _LOG.warning("the challenger in the shadow counts nothing: %s", said)

    def probability(self, data: bytes) -> float:
        crops = preprocess(data).crops[np.newaxis]
        return float(self._session.run([PROBABILITY], {CROPS: crops})[0][0, 0])

    def _load(self) -> None:
        import onnxruntime  # noqa: PLC0415 - only this process needs it

        manifest = read_manifest(self._folder)
        verify_onnx(self._folder, manifest)
        self.threshold = manifest.findings.operating_point.threshold
        self.number = (self._folder / NUMBER_FILE).read_text(encoding="utf-8").strip()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        path = self._folder / ONNX_FILE
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its errors share no base
            raise ModelError(f"{path} cannot be loaded: {error}") from error
