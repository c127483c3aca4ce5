"""``preprocess`` for a server: HEIC and AVIF are decoded in a child that may die, costly pictures in one that yields.

The work of a JPEG, PNG or WebP is bounded by what its header says. HEVC and AV1 streams are not: they repeat sizes that
their files state elsewhere, may hold more pictures than one, and their decoders are large and young. Each worker
therefore keeps one child for them, forked at the first such picture and used for all that follow. The kernel ends it
when a picture takes more time or memory than any may; a crash ends it too. That picture is refused, the next one finds
a new child, and the worker's other pictures are never touched. Only plain bytes come back from it.

A second child, of low priority, decodes what takes many times as long as a photo: other callers' photos get the
processor first. A process may lower its priority but not raise it again, so that a worker cannot do this itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Final

import numpy as np

from veriphoto.contract import CONTRACT
from veriphoto.decoding import examine
from veriphoto.errors import CorruptImageError, ImageError, TooCostlyError, from_wire
from veriphoto.headers.header import SAVE_AGAIN
from veriphoto.preprocessing import Preprocessed, crop_boxes
from veriphoto.preprocessing import preprocess as preprocess_here

_HEIF: Final = ("heif", "avif")
_LONG: Final = 0.25
"""Estimated CPU seconds above which a picture gives way to others; what phones make of 12 megapixels takes less."""
_LONG_HEIF: Final = 0.6
"""The same for HEIC and AVIF, which take longer."""
_NICENESS: Final = 10
"""What is added to the niceness for those: a tenth of the processor while others want it."""
_CPU_SECONDS: Final = 3
"""Kernel limits are whole seconds: a picture has between this and one more."""
_WALL_SECONDS: Final = 20.0
_MEMORY: Final = 600 * 1000 * 1000
"""Bytes that a picture may take beyond what the child has at rest."""
_CROPS: Final = (CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3)
_PR_SET_PDEATHSIG: Final = 1


def preprocess(data: bytes) -> Preprocessed:
    """Prepares one uploaded file, as ``preprocessing.preprocess`` does and with the same result.

    Args:
        data: The file's bytes.

    Returns:
        Its crops, statistics and crop places.

    Raises:
        ImageError: If the picture cannot be scored, or cost its decoder's life.
    """
    header = examine(data)
    heif = header.format in _HEIF
    if header.seconds > (_LONG_HEIF if heif else _LONG):
        return _low_priority.preprocess(data)
    return _child.preprocess(data) if heif else preprocess_here(data, header)


class _Child:
    def __init__(self, niceness: int = 0) -> None:
        self._niceness = niceness
        self._pid = 0
        self._pipe: Connection | None = None
        self._owner = 0

    def preprocess(self, data: bytes) -> Preprocessed:
        pipe = self._started()
        try:
            pipe.send_bytes(data)
            answer = pipe.recv_bytes() if pipe.poll(_WALL_SECONDS) else b""
        except (EOFError, OSError):
            answer = b""
        if not answer:
            raise self._reason(self.end())
        if answer[:1] == b"-":
            raise from_wire(answer[1:].decode()) or CorruptImageError(f"the picture cannot be decoded; {SAVE_AGAIN}")
        size = int(np.prod(_CROPS))
        crops = np.frombuffer(answer, np.uint8, size, 1).reshape(_CROPS)
        statistics = np.frombuffer(answer[1 + size :], np.float32, len(CONTRACT.statistics))
        width, height = (int(statistics[CONTRACT.statistics.index(name)]) for name in ("width", "height"))
        return Preprocessed(crops, statistics, crop_boxes(width, height))

    def _started(self) -> Connection:
        if self._pipe is not None and self._owner == os.getpid() and self._lives():
            return self._pipe
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        ours, theirs = Pipe()
        self._owner = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                ours.close()
                os.nice(self._niceness)
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._pipe = ours
        return ours

    def _lives(self) -> bool:
        """Tells whether the child can take the next picture: somebody may have killed it since the last one."""
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self._pid, os.WNOHANG)[0] == 0
        return False

    def end(self) -> int:
        """Ends the child, if there is one, and returns how it ended, as ``os.waitpid`` says it."""
        if self._pipe is None:
            return 0
        self._pipe.close()
        self._pipe, status = None, 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            status = os.waitpid(self._pid, 0)[1]
        return status

    @staticmethod
    def _reason(status: int) -> ImageError:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU):
            return TooCostlyError(f"the picture takes more than {_CPU_SECONDS} s to decode; {SAVE_AGAIN}")
        return CorruptImageError(f"the picture cannot be decoded; {SAVE_AGAIN}")


def _serve(pipe: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for kind in (signal.SIGTERM, signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT):
        signal.signal(kind, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + _CPU_SECONDS)
        _limit(resource.RLIMIT_DATA, _data_bytes() + _MEMORY)
        try:
            done = preprocess_here(data)
            answer = b"+" + done.crops.tobytes() + done.statistics.tobytes()
        except ImageError as error:
            answer = b"-" + error.to_wire().encode()
        pipe.send_bytes(answer)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _data_bytes() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[5]) * resource.getpagesize()


_child: Final = _Child()
_low_priority: Final = _Child(_NICENESS)
