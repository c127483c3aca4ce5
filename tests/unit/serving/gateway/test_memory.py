"""What uploads cost in memory, and how much they may."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_serving.gateway.errors import BadRequestError, BusyError
from veriphoto_serving.gateway.middleware.admission import Bound, Queue
from veriphoto_serving.gateway.middleware.memory import memory_limit, upload_budget
from veriphoto_serving.gateway.middleware.upload import Uploads

from .conftest import Open, picture, wait_for

MEGA = 1_000_000
BOUNDARY = b"boundary"
PIECE = bytes(65_536)


def form(field: str, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield b'--boundary\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n' % field.encode()
        for start in range(0, size, len(PIECE)):
            yield PIECE[: min(len(PIECE), size - start)]
        yield b"\r\n"
    yield b"--boundary--\r\n"


def request(pieces: Iterator[bytes], kind: str = "multipart/form-data; boundary=boundary") -> Request:
    async def receive() -> dict[str, Any]:
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}, receive)


@pytest.fixture
def uploads() -> Uploads:
    return Uploads(Bound(200 * MEGA, "uploads"), 20.0)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
async def test_a_batch_lies_in_memory_once(uploads: Uploads) -> None:
    async with uploads.batch(request(form("files", [4_900_000] * 20)), 20, 100 * MEGA) as files:
        assert [len(file.content) for file in files] == [4_900_000] * 20
        held, peak = tracemalloc.get_traced_memory()
    assert held < 99 * MEGA
    assert peak < 110 * MEGA, "all files, and one of them twice while it is finished"
    assert uploads.memory.taken == 0


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("multipart", [True, False])
async def test_a_picture_lies_in_memory_once_while_it_is_scored(uploads: Uploads, multipart: bool) -> None:
    size = 19_900_000
    body = form("file", [size]) if multipart else (PIECE for _ in range(size // len(PIECE)))
    kind = "multipart/form-data; boundary=boundary" if multipart else "image/jpeg"
    async with uploads.single(request(body, kind)) as file:
        held, peak = tracemalloc.get_traced_memory()
        assert held < len(file.content) + MEGA
    assert peak < 2.2 * size


@pytest.mark.usefixtures("traced")
async def test_a_file_too_large_for_any_picture_is_not_kept(uploads: Uploads) -> None:
    async with uploads.batch(
        request(form("files", [MAX_FILE_BYTES + 1, 1000, 3 * MAX_FILE_BYTES])), 20, 100 * MEGA
    ) as files:
        assert [(file.too_large, len(file.content)) for file in files] == [(True, 0), (False, 1000), (True, 0)]
        assert tracemalloc.get_traced_memory()[0] < MEGA


async def test_endless_headers_of_a_part_are_refused(uploads: Uploads) -> None:
    pieces = iter([b"--boundary\r\nX-A: ", *[b"a" * 65_536] * 100])
    with pytest.raises(BadRequestError):
        async with uploads.batch(request(pieces), 20, 100 * MEGA):
            pass
    assert uploads.memory.taken == 0


@pytest.mark.parametrize(("free", "status"), [(150, 503), (80, 413)])
async def test_a_batch_that_does_not_fit_is_refused(open_gateway: Open, free: int, status: int) -> None:
    async with open_gateway(max_buffered_mb=free * 3 // 2) as gateway:

        async def body() -> AsyncIterator[bytes]:
            for piece in form("files", [4_900_000] * 20):
                yield piece

        headers = {"content-type": "multipart/form-data; boundary=boundary", "content-length": "98003000"}
        with gateway.services.uploads.memory.take(60 * MEGA):
            answer = await gateway.http.post("/predict/batch", content=body(), headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"] == {503: "overloaded", 413: "body_too_large"}[status]


async def test_what_does_not_fit_is_refused_and_gives_its_memory_back() -> None:
    uploads = Uploads(Bound(30 * MEGA, "uploads"), 20.0)
    async with uploads.single(request(form("file", [19 * MEGA]))):
        with pytest.raises(BusyError):
            async with uploads.single(request(form("file", [19 * MEGA]))):
                pass
        assert uploads.memory.taken < 20 * MEGA, "what was read of it counts no more"
    async with uploads.single(request(form("file", [19 * MEGA]))):
        pass


async def test_copies_wait_for_their_turn_in_order() -> None:
    queue, order = Queue(100), list[int]()

    async def copy(number: int, size: int) -> None:
        async with queue.hold(size):
            order.append(number)
            assert queue.taken <= queue.size
            await asyncio.sleep(0.01)

    async with queue.hold(90):
        tasks = [asyncio.create_task(copy(number, size)) for number, size in enumerate((50, 60, 10, 500))]
        await asyncio.sleep(0.02)
        assert order == []
        tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3]
    assert queue.taken == 0


async def test_pictures_on_their_way_to_triton_are_bounded(open_gateway: Open) -> None:
    big = picture() + bytes(9 * MEGA)
    async with open_gateway(max_buffered_mb=90, max_in_flight=8) as gateway:  # 30 MB for copies: one picture's
        gateway.triton.slow = 0.05
        calls = [asyncio.create_task(gateway.http.post("/predict", content=big)) for _ in range(4)]
        await wait_for(lambda: gateway.services.scorer._transit.taken > 0)
        assert gateway.services.scorer._transit.taken <= 30 * MEGA
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 4
        assert gateway.services.scorer._transit.taken == 0


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"sys/fs/cgroup/memory.max": "1073741824"}, 1 << 30),
        ("0::/", {"sys/fs/cgroup/memory.max": "max"}, None),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "900"}, 900),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "700", "sys/fs/cgroup/a/memory.max": "900"}, 700),
        ("0::/kubepods/pod1", {"sys/fs/cgroup/memory.max": "800"}, 800),
        ("4:cpu,memory:/x\n0::/", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "600"}, 600),
        ("4:memory:/docker/1", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "500"}, 500),
        ("4:memory:/", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("garbage", {}, None),
        (None, {}, None),
    ],
)
def test_the_limit_of_the_container_is_found(
    tmp_path: Path, groups: str | None, files: dict[str, str], limit: int | None
) -> None:
    if groups is not None:
        files = {"proc/self/cgroup": groups, **files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert memory_limit(tmp_path) == limit


def test_uploads_get_what_the_limit_leaves(tmp_path: Path) -> None:
    assert upload_budget(beside_triton=False, root=tmp_path) == 500 * MEGA
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    budgets = []
    for size in (1 << 28, 1 << 30, 1 << 31, 1 << 33):
        limit.write_text(str(size))
        budgets.append([upload_budget(beside_triton=beside, root=tmp_path) // MEGA for beside in (False, True)])
    assert budgets == [[64, 64], [423, 64], [500, 64], [500, 500]]
