"""A process that scores photos for ``processes``: it reads files from standard input and writes answers as JSON.

It ends when its standard input is closed, and therefore with the process that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

from veriphoto.errors import ImageError, VeriphotoError
from veriphoto.second_opinion import Mode
from veriphoto_client.local.model import Judge, ModelPackage
from veriphoto_client.sdk.images import load

HEAD: Final = struct.Struct("<?I")
"""In front of each photo: whether a path follows instead of the file's bytes, and the length of either."""
LENGTH: Final = struct.Struct("<I")
"""In front of each answer: its length. An answer may name a path, which a list can make as long as it likes."""
PATHS: Final = ("utf-8", "surrogatepass")
"""Encoding of paths, which takes any string, also one that no file can have."""


def main(arguments: list[str]) -> None:
    """Loads a version, writes an empty answer to say so, and scores until its input ends.

    Args:
        arguments: Version directory, variant, and mode of the second opinion.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that nothing a library prints is taken for an answer
    model, variant, mode = arguments
    try:
        judge = ModelPackage.read(Path(model), variant, Mode(mode)).open()
    except VeriphotoError as error:
        _say(answers, {"error": error.to_wire()})
        return
    _say(answers, {})
    while head := sys.stdin.buffer.read(HEAD.size):
        is_path, length = HEAD.unpack(head)
        _say(answers, _answer(judge, sys.stdin.buffer.read(length), is_path=is_path))


def _answer(judge: Judge, photo: bytes, *, is_path: bool) -> dict[str, Any]:
    try:
        tensors = judge.tensors(load(photo.decode(*PATHS)) if is_path else photo)
        # JSON keeps floats exactly.
        return {"tensors": {name: tensor.tolist() for name, tensor in tensors.items()}}
    except ImageError as error:
        return {"error": error.to_wire()}


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    answers.write(LENGTH.pack(len(body)) + body)
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
