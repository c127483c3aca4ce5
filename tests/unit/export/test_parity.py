"""Parity refuses every graph that scores otherwise than its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from toy_model import SAMPLES, ToyNetwork

from veriphoto.errors import DataError, ParityError
from veriphoto.manifest import Findings
from veriphoto_export.graph import ClassifierGraph
from veriphoto_export.operating_point import operating_point, stamp
from veriphoto_export.parity import TOLERANCE, Crops, check_parity, load_crops


def check(model: onnx.ModelProto, network: ToyNetwork, findings: Findings, crops: Crops, **other: object):
    graph = ClassifierGraph(network, findings.calibration)
    point = operating_point(findings, 1)
    options = {"calibration": findings.calibration, "evidence_bias": graph.evidence_bias, "point": point, **other}
    return check_parity(stamp(model, point).SerializeToString(), network, crops, **options)


def test_a_faithful_graph_passes(model, network, findings, crops) -> None:
    parity = check(model, network, findings, crops)
    assert parity.pictures == len(SAMPLES)
    assert max(parity.probability, parity.evidence) <= TOLERANCE


def test_one_picture_is_still_run_as_a_batch(model, network, findings, crops) -> None:
    assert check(model, network, findings, crops[:1]).pictures == 1


def test_another_network_is_refused(model, findings, crops) -> None:
    with pytest.raises(ParityError, match="probabilities differ"):
        check(model, ToyNetwork(seed=1), findings, crops)


def test_another_calibration_is_refused(model, network, findings, crops) -> None:
    calibration = replace(findings.calibration, bias=findings.calibration.bias + 0.01)
    with pytest.raises(ParityError, match="probabilities differ"):
        check(model, network, findings, crops, calibration=calibration)


def test_a_wrong_evidence_bias_is_refused(model, network, findings, crops) -> None:
    with pytest.raises(ParityError, match="evidence misses the logit"):
        check(model, network, findings, crops, evidence_bias=5.0)


def test_another_operating_point_is_refused(model, network, findings, crops) -> None:
    with pytest.raises(ParityError, match="operating point"):
        check(model, network, findings, crops, point=operating_point(findings, 2))


def test_a_graph_of_nan_is_refused(model, network, findings, crops) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    bias = next(constant for constant in broken.graph.initializer if constant.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * float("nan"), "bias"))
    with pytest.raises(ParityError, match="nan"):
        check(broken, network, findings, crops)


def test_a_broken_file_is_refused(network, findings, crops) -> None:
    with pytest.raises(ParityError, match="does not load"):
        check_parity(
            b"no graph",
            network,
            crops,
            calibration=findings.calibration,
            evidence_bias=0.0,
            point=findings.operating_point,
        )


def test_unreadable_pictures_are_left_out(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"junk")
    assert len(load_crops([bad, SAMPLES[0]])) == 1
    with pytest.raises(DataError, match="no picture"):
        load_crops([bad])
