"""JSON from elsewhere: a value, or a ValueError."""

from __future__ import annotations

import pytest

from veriphoto.foreign_json import DEEPEST, parse


def test_what_is_json() -> None:
    assert parse('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    assert parse(b"7") == 7
    parse("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.parametrize("deep", [DEEPEST + 2, 900, 100_000])
def test_what_is_nested_too_deep(deep: int) -> None:
    for text in ("[" * deep, "[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


@pytest.mark.parametrize("text", ["", "{", b"\xff", "9" * 5000, "[1,]"])
def test_what_is_none(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
