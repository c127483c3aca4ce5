from __future__ import annotations

import logging
from base64 import b64encode

import pytest

from veriphoto.contract import ANONYMOUS, ENSEMBLE, IMAGE
from veriphoto.errors import UsageError
from veriphoto_serving.gateway.errors import RateLimitedError, UnauthorizedError
from veriphoto_serving.gateway.middleware.keys import KeyRing, shown_key
from veriphoto_serving.gateway.middleware.ratelimit import RateLimit
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.page import with_page_key

from .conftest import KEYS, Open, picture

SECRET = "0123456789abcdef"


async def test_keys_open_the_door_and_show_by_name_only(open_gateway: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_gateway(api_keys=KEYS) as gateway:
        for headers in ({"x-api-key": SECRET}, {"authorization": f"Bearer {SECRET}"}):
            assert (await gateway.http.post("/predict", content=picture(), headers=headers)).status_code == 200
        for headers in ({"x-api-key": SECRET + "0"}, {"authorization": f"Basic {SECRET}"}, {"x-api-key": ""}):
            answer = await gateway.http.post("/predict", content=picture(), headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="veriphoto"')

        metrics = (await gateway.http.get("/metrics", headers={"x-api-key": SECRET})).text
        assert 'key="shop"' in metrics
        assert SECRET not in metrics + caplog.text


@pytest.mark.parametrize(
    "route", ["/", "/privacy", "/health", "/healthz", "/readyz", "/startup", "/v1/health", "/docs"]
)
async def test_probes_need_no_key(open_gateway: Open, route: str) -> None:
    async with open_gateway(api_keys=KEYS) as gateway:
        assert (await gateway.http.get(route)).status_code == 200
        assert (await gateway.http.get("/drift")).status_code == (await gateway.http.get("/metrics")).status_code == 401


def test_no_key_no_entry_beyond_this_machine() -> None:
    assert GatewaySettings(gateway_host="127.0.0.1").keys() == {}
    assert GatewaySettings(gateway_host="0.0.0.0", allow_anonymous=True).keys() == {}  # noqa: S104
    assert GatewaySettings(gateway_host="0.0.0.0", api_keys=KEYS).keys()["shop"] == SECRET  # noqa: S104
    with pytest.raises(UsageError, match="VERIPHOTO_API_KEYS"):
        GatewaySettings(gateway_host="0.0.0.0").keys()  # noqa: S104


@pytest.mark.parametrize("text", ["shop", "shop=short", "=0123456789abcdef", "a b=0123456789abcdef"])
def test_malformed_keys_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        GatewaySettings(api_keys=text).keys()
    assert "0123456789abcdef" not in refused.value.message


def test_no_key_has_the_name_of_callers_without_one() -> None:
    with pytest.raises(UsageError, match="callers without a key") as refused:
        GatewaySettings(api_keys=f"{ANONYMOUS}={SECRET}").keys()
    assert SECRET not in refused.value.message


def test_keys_come_from_a_file_too(tmp_path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# callers\n\nshop = {SECRET}\n")
    assert GatewaySettings(api_keys_file=file).keys() == {"shop": SECRET}
    with pytest.raises(UsageError, match="missing"):
        GatewaySettings(api_keys_file=tmp_path / "missing").keys()


def test_a_name_stands_for_one_key(tmp_path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop={SECRET[::-1]}\n")
    for settings in (
        GatewaySettings(api_keys=f"shop={SECRET},shop={SECRET[::-1]}"),
        GatewaySettings(api_keys=f"shop={SECRET}", api_keys_file=file),
    ):
        with pytest.raises(UsageError, match="named shop already") as refused:
            settings.keys()
        assert SECRET not in refused.value.message


@pytest.mark.parametrize("in_file", [False, True])
def test_the_pages_key_takes_nobodys_name(tmp_path, in_file: bool) -> None:
    own = {"page": SECRET, "page-1": SECRET[::-1]}
    file = tmp_path / "keys"
    file.write_text("\n".join(f"{name}={key}" for name, key in own.items()))
    settings = (
        GatewaySettings(api_keys_file=file) if in_file else GatewaySettings(api_keys=",".join(file.read_text().split()))
    )
    given, key = with_page_key(settings)
    assert given.keys() == {**own, "page-2": key}
    assert with_page_key(GatewaySettings()) == (GatewaySettings(), "")


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="--max-in-flight"):
        GatewaySettings(max_in_flight=-1)


def test_key_ring() -> None:
    assert KeyRing({}).identify(None) == ANONYMOUS
    ring = KeyRing({"shop": SECRET})
    assert ring.identify(SECRET.encode()) == "shop"
    with pytest.raises(UnauthorizedError):
        ring.identify("схоп".encode())
    assert shown_key({b"authorization": b"bearer  abc"}) == b"abc"


def test_rate_limit_gives_back_with_time() -> None:
    now = [0.0]
    limit = RateLimit(60, 3, clock=lambda: now[0])
    for _ in range(3):
        limit.take("shop")
    with pytest.raises(RateLimitedError) as refused:
        limit.take("shop")
    assert refused.value.wait == pytest.approx(1.0)
    limit.take("app")
    now[0] = 1.0
    limit.take("shop")


def test_a_large_batch_is_paid_back() -> None:
    now = [0.0]
    limit = RateLimit(60, 5, clock=lambda: now[0])
    limit.take("shop", 20)
    now[0] = 14.0
    with pytest.raises(RateLimitedError):
        limit.take("shop")
    now[0] = 16.1
    limit.take("shop")


def test_a_request_that_is_counted_in_two_steps_needs_what_it_needs_at_once() -> None:
    now = [0.0]
    limit = RateLimit(60, 3, clock=lambda: now[0])
    for pictures in (1, 2, 3, 4, 20):
        now[0] += 1000.0
        limit.take("shop")
        limit.take("shop", pictures, charged=1)
    now[0] += 1000.0
    limit.take("shop")
    for _ in range(5):
        limit.take("shop")
        with pytest.raises(RateLimitedError) as refused:
            limit.take("shop", 3, charged=1)
        assert refused.value.wait == pytest.approx(1.0), "a refusal is not charged"
    now[0] += 1.0
    limit.take("shop")
    limit.take("shop", 3, charged=1)


async def test_a_full_bucket_admits_a_batch_beyond_the_burst(open_gateway: Open) -> None:
    async with open_gateway(rate_limit=3, rate_burst=3) as gateway:
        assert (await gateway.http.post("/predict/batch", files=photos(4))).status_code == 200
        assert (await gateway.http.post("/predict", content=picture())).status_code == 429
    async with open_gateway(rate_limit=3, rate_burst=3) as gateway:
        inputs = [{"name": IMAGE, "datatype": "BYTES", "shape": [4, 1], "data": [b64encode(picture()).decode()] * 4}]
        answer = await gateway.http.post(f"/v2/models/{ENSEMBLE}/infer", json={"inputs": inputs})
        assert answer.status_code == 200
        assert (await gateway.http.post("/predict", content=picture())).status_code == 429


async def test_a_refused_batch_costs_nothing(open_gateway: Open) -> None:
    async with open_gateway(rate_limit=3, rate_burst=3) as gateway:
        sent = [await gateway.http.post("/predict", content=picture())]
        for _ in range(3):
            refused = await gateway.http.post("/predict/batch", files=photos(4))
            assert (refused.status_code, refused.json()["error"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) <= 21, "one photo has to come back"
        sent += [await gateway.http.post("/predict", content=picture()) for _ in range(3)]
    assert [each.status_code for each in sent] == [200, 200, 200, 429]


def photos(number: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{place}.jpg", picture())) for place in range(number)]


async def test_cors_is_closed_unless_opened(open_gateway: Open) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    async with open_gateway() as gateway:
        answer = await gateway.http.options("/predict", headers=asked)
        assert "access-control-allow-origin" not in answer.headers
    async with open_gateway(cors_origins="https://shop.example", api_keys=KEYS) as gateway:
        answer = await gateway.http.options("/predict", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        asked["origin"] = "https://evil.example"
        assert "access-control-allow-origin" not in (await gateway.http.options("/predict", headers=asked)).headers
