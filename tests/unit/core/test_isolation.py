"""Pictures that a worker leaves to a child: results are the same, and a child's end or slowness is its own."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import time

import numpy as np
import pillow_heif
import pytest
from benchmarks.odd_files import COSTLY, encoded
from pace import slowness
from PIL import Image

from veriphoto import errors, isolation
from veriphoto.contract import FORMATS
from veriphoto.decoding import examine
from veriphoto.preprocessing import preprocess

pillow_heif.register_heif_opener()

PICTURE = Image.linear_gradient("L").resize((320, 192)).convert("RGB")
HEIC = encoded(PICTURE, "HEIF", quality=80)
AVIF = encoded(PICTURE, "AVIF", quality=80)


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heif", "avif"])
def test_random_damage_only_raises_image_errors(data):
    """In the child, as a server does it: a decoder that crashes costs its picture and nothing else."""
    rng, scored = np.random.default_rng(19), 0
    for _ in range(120):
        mutant = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 12))):
            mutant[place] = rng.integers(0, 256)
        try:
            isolation.preprocess(bytes(mutant))
            scored += 1
        except errors.ImageError:
            pass
    assert scored < 120
    assert FORMATS[int(isolation.preprocess(data).statistics[3])] in ("heif", "avif")


@pytest.mark.parametrize("data", [HEIC, AVIF, encoded(PICTURE, "JPEG")], ids=["heif", "avif", "jpeg"])
def test_the_child_prepares_what_the_worker_would(data):
    theirs, ours = isolation.preprocess(data), preprocess(data)
    np.testing.assert_array_equal(theirs.crops, ours.crops)
    np.testing.assert_array_equal(theirs.statistics, ours.statistics)
    assert theirs.boxes == ours.boxes


@pytest.mark.parametrize("name", COSTLY)
def test_costly_pictures_give_way_and_come_out_the_same(name):
    isolation._low_priority.end()
    data = COSTLY[name]()
    theirs, ours = isolation.preprocess(data), preprocess(data)
    np.testing.assert_array_equal(theirs.crops, ours.crops)
    np.testing.assert_array_equal(theirs.statistics, ours.statistics)
    gives_way = examine(data).seconds > 0.25
    assert (isolation._low_priority._pipe is not None) == gives_way
    if gives_way:
        niceness, own = (os.getpriority(os.PRIO_PROCESS, each) for each in (isolation._low_priority._pid, 0))
        assert niceness == min(own + 10, 19), "19 is the kernel's end"


def _burn(_: bytes) -> None:
    sum(range(10**12))  # in C: no signal handler of Python's would run before its end


def _eat(_: bytes) -> None:
    io.BytesIO(bytes(10**9)).getvalue()


def _crash(_: bytes) -> None:
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(_burn, errors.TooCostlyError), (_eat, errors.CorruptImageError), (_crash, errors.CorruptImageError)],
)
def test_a_decoder_that_runs_away_costs_its_picture_only(monkeypatch, fault, error):
    isolation._child.end()
    monkeypatch.setattr(isolation, "preprocess_here", fault)
    began = time.monotonic()
    with pytest.raises(error):
        isolation.preprocess(HEIC)
    assert time.monotonic() - began < 10 * slowness()
    monkeypatch.undo()
    assert isolation.preprocess(HEIC).statistics[0] == PICTURE.width


def test_a_child_that_is_killed_between_two_pictures_costs_neither():
    isolation.preprocess(HEIC)
    before = isolation._child._pid
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert isolation.preprocess(HEIC).statistics[0] == PICTURE.width
    assert isolation._child._pid != before
