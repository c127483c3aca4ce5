"""The tree, its codes and the way over the wire."""

from __future__ import annotations

import pytest

from veriphoto import errors
from veriphoto.errors import VeriphotoError, from_wire


def leaves(root: type[VeriphotoError]) -> list[type[VeriphotoError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in leaves(child))]


# Other parts may add leaves of their own; these are core's.
TREE = [kind for kind in leaves(VeriphotoError) if kind.__module__ == errors.__name__]


def test_codes_are_unique_and_drawn_in_the_docstring() -> None:
    codes = [kind.code for kind in TREE]
    assert len(codes) == len(set(codes))
    for kind in TREE:
        assert any(kind.__name__ in line and kind.code in line for line in (errors.__doc__ or "").splitlines())


@pytest.mark.parametrize("kind", leaves(errors.ImageError), ids=lambda kind: kind.code)
def test_image_errors_survive_the_wire(kind: type[VeriphotoError]) -> None:
    error = kind("one line;\n and another")
    found = from_wire(f"in ensemble 'detector', {error.to_wire()}")
    assert type(found) is kind
    assert str(found) == "one line; and another"


@pytest.mark.parametrize("control", ["\x1b[2J", "\x07", "\x9b1m", "\x7f", "\u202e"])
def test_a_file_name_in_an_error_cannot_drive_a_terminal(control: str) -> None:
    said = errors.UnreadableFileError(f"a{control}b.jpg cannot be read").to_wire()
    assert said == f"[unreadable_file] a\N{REPLACEMENT CHARACTER}{control[1:]}b.jpg cannot be read"


@pytest.mark.parametrize("text", ["", "no code", "[nonsense] x", "[manifest_invalid] not of a picture"])
def test_other_texts_are_no_image_error(text: str) -> None:
    assert from_wire(text) is None


def test_a_missing_extra_says_what_to_install() -> None:
    assert ".venv/bin/pip install -e '.[train]'" in str(errors.MissingExtraError("train", "torch"))
