"""model.py files are Triton glue: small, few imports, one response a request whatever comes."""

from __future__ import annotations

import ast
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from toy_model import REPOSITORY, SAMPLES
from triton_stand_in import InferenceResponse, Request, Tensor, TritonError, TritonModelException

from veriphoto.contract import CROPS, IMAGE, STATISTICS
from veriphoto.errors import NotAnImageError, from_wire
from veriphoto.preprocessing import preprocess

GLUE = sorted(REPOSITORY.rglob("*.py"))
MAY_IMPORT = sys.stdlib_module_names | {"numpy", "PIL", "onnxruntime", "veriphoto", "triton_python_backend_utils"}
MAX_LINES = 70


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a model.py is no package"
            names.add((node.module or "").split(".")[0])
    return names


def picture(seed: int = 0, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def ask(*files: bytes) -> Request:
    return Request([Tensor(IMAGE, np.array(files, dtype=object).reshape(-1, 1))])


def refusal(response: InferenceResponse) -> TritonError:
    assert response.error is not None
    assert response.output_tensors == []
    return response.error


def test_there_is_glue() -> None:
    assert {path.parts[-3] for path in GLUE} == {"preprocess", "classifier", "second_opinion", "recorder"}


@pytest.mark.parametrize("path", GLUE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_glue_is_small_and_imports_little(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert imported(ast.parse(text)) <= MAY_IMPORT
    assert len(text.splitlines()) <= MAX_LINES


def test_every_version_has_the_same_glue() -> None:
    assert len({path.read_text(encoding="utf-8") for path in GLUE if path.parts[-3] == "classifier"}) == 1


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_triton_sees_what_training_sees(path: Path, preprocess_model) -> None:
    data = path.read_bytes()
    [response] = preprocess_model.execute([ask(data)])
    expected = preprocess(data)
    np.testing.assert_array_equal(response.arrays()[CROPS], expected.crops[np.newaxis])
    np.testing.assert_array_equal(response.arrays()[STATISTICS], expected.statistics[np.newaxis])


def test_a_request_of_several_pictures_gives_one_response(preprocess_model) -> None:
    [response] = preprocess_model.execute([ask(picture(1), picture(2, "PNG"), picture(3, "WEBP"))])
    arrays = response.arrays()
    for index, (seed, kind) in enumerate([(1, "JPEG"), (2, "PNG"), (3, "WEBP")]):
        np.testing.assert_array_equal(arrays[CROPS][index], preprocess(picture(seed, kind)).crops)


def test_a_bad_picture_fails_alone(preprocess_model) -> None:
    good, bad, also_good = preprocess_model.execute([ask(picture(1)), ask(b"junk"), ask(picture(2))])
    assert refusal(bad).code() == TritonError.INVALID_ARG
    assert isinstance(from_wire(refusal(bad).message()), NotAnImageError)
    for seed, response in ((1, good), (2, also_good)):
        np.testing.assert_array_equal(response.arrays()[CROPS][0], preprocess(picture(seed)).crops)


def test_a_bad_picture_among_several_is_named(preprocess_model) -> None:
    mixed, neighbour = preprocess_model.execute([ask(picture(), b"junk", picture()), ask(picture())])
    assert refusal(mixed).message().startswith(f"{IMAGE}[1]: [not_an_image] ")
    assert isinstance(from_wire(refusal(mixed).message()), NotAnImageError)
    assert neighbour.error is None


def test_a_fault_of_ours_tells_the_caller_nothing(preprocess_model, pb_utils, monkeypatch) -> None:
    def fail(_: bytes) -> None:
        raise RuntimeError("secret of /a/path.py")

    monkeypatch.setitem(type(preprocess_model).execute.__globals__, "preprocess", fail)
    [response] = preprocess_model.execute([ask(picture())])
    assert refusal(response).code() == TritonError.INTERNAL
    assert "secret" not in refusal(response).message()
    [line] = pb_utils.Logger.lines
    assert re.fullmatch(r"preprocess failed: RuntimeError in fail, line \d+", line)


def test_a_request_without_its_tensor_gets_an_answer(preprocess_model) -> None:
    bad, good = preprocess_model.execute([Request([]), ask(picture())])
    assert refusal(bad).code() == TritonError.INTERNAL
    assert good.error is None


@pytest.mark.parametrize(
    ("version", "release", "fits"),
    [("1.26.4", None, True), ("2.1.0", None, False), ("2.1.0", "24.10", False), ("2.1.0", "26.06", True)],
)
def test_numpy_2_is_refused_where_it_gives_empty_answers(version, release, fits, preprocess_model, monkeypatch) -> None:
    monkeypatch.setitem(type(preprocess_model).execute.__globals__, "np", SimpleNamespace(__version__=version))
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)
    if release is not None:
        monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", release)
    if fits:
        preprocess_model.initialize({})
    else:
        with pytest.raises(TritonModelException, match="install 'numpy<2'"):
            preprocess_model.initialize({})
