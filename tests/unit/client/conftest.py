"""What the client's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_triton import FakeTriton, fake_triton


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    """A server that answers as Triton does."""
    with fake_triton() as server:
        yield server
