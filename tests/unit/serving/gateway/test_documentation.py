"""/docs shows every route once, from this machine's own files."""

from __future__ import annotations

import re
from collections import Counter

from .conftest import KEYS, Open


async def test_the_page_and_all_that_it_loads_need_no_internet_and_no_key(open_gateway: Open) -> None:
    async with open_gateway(api_keys=KEYS) as gateway:
        page = (await gateway.http.get("/docs")).text
        loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page)
        assert len(loaded) == 4
        for address in loaded:
            assert address.startswith("./"), address
            answer = await gateway.http.get(address.removeprefix("."))
            assert answer.status_code == 200, address
            assert len(answer.content) > 1000
        script = (await gateway.http.get("/docs/swagger-ui-bundle.js")).text
        description = (await gateway.http.get("/openapi.json")).json()
    assert description["openapi"].startswith("3.1")
    assert "3.1" in script  # a Swagger that is too old to know it shows an error instead


async def test_each_route_is_described_once(open_gateway: Open) -> None:
    async with open_gateway() as gateway:
        description = (await gateway.http.get("/openapi.json")).json()
        assert (await gateway.http.get("/v1/health")).status_code == 200  # there all the same
    names = Counter(path.removeprefix("/v1") for path in description["paths"])
    assert names["/predict"] == 1
    assert set(names.values()) == {1}
