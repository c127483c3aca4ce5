"""``veriphoto data audit`` from end to end."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from brightness_model import draw
from training_pictures import write_files
from typer.testing import CliRunner

from veriphoto.errors import DataError, ModelError, UsageError
from veriphoto_training.audit.result import Limit
from veriphoto_training.commands.data import register
from veriphoto_training.evaluation.figure import Figure

Tree = Callable[..., Path]

COUNT = 24


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    app.command("other")(lambda: None)  # Typer drops the name of a lone command
    return app


def run(app: typer.Typer, *arguments: object) -> int:
    result = CliRunner().invoke(app, ["data", "audit", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code


def leaky(**more: bytes) -> dict[str, bytes]:
    """Real files at quality 95, AI files at 60: the class can be read from the file."""
    files = {f"real/shop/{i}.jpg": draw(i, size=(240, 240), quality=95) for i in range(COUNT)}
    files |= {f"ai/gen/{i}.jpg": draw(1000 + i, size=(240, 240), quality=60) for i in range(COUNT)}
    return files | more


def test_a_sound_set_passes_and_the_raw_leak_is_told(app: typer.Typer, write_tree: Tree, tmp_path: Path) -> None:
    assert run(app, write_tree(leaky()), "--output", tmp_path / "report") in (0, 1)
    body = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert body["raw"]["auroc"]["value"] == 1.0
    assert body["aligned"]["auroc"]["value"] < 0.8
    assert body["pictures"] == {"real": COUNT, "ai": COUNT}
    assert body["copies"] == []
    assert body["broken"] == {}
    assert body["raw"]["auroc"]["low"] < 1.0, "so few pictures prove no certainty"
    assert body["holds"] == all(limit["state"] != "exceeded" for limit in body["limits"])
    assert body["limits"][-1]["figure"] == body["looks"]["plain"]["auroc"]


def test_each_limit_that_is_exceeded_is_followed_by_what_to_do(
    app: typer.Typer, write_tree: Tree, tmp_path: Path
) -> None:
    dark = {f"real/shop/{i}.jpg": draw(i, size=(240, 240), level=40) for i in range(COUNT)}
    bright = {f"ai/gen/{i}.jpg": draw(1000 + i, size=(240, 240), level=220) for i in range(COUNT)}
    command = ["data", "audit", str(write_tree({**dark, **bright})), "--output", str(tmp_path / "report")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.output
    lines = result.stdout.splitlines()
    advice = {line.split(":")[0]: after for line, after in itertools.pairwise(lines) if line.startswith("EXCEEDED")}
    assert any("AUROC of looks alone" in name for name in advice)
    assert all(after.startswith("      ") for after in advice.values()), advice


@pytest.mark.parametrize(
    ("value", "low", "high", "state"),
    [
        (0.52, 0.45, 0.60, "holds"),
        (0.60, 0.50, 0.70, "may be chance"),
        (0.60, 0.56, 0.64, "exceeded"),
        (-0.60, -0.70, -0.50, "may be chance"),
        (-0.60, -0.64, -0.56, "exceeded"),
        (float("nan"), float("nan"), float("nan"), "exceeded"),
    ],
)
def test_chance_is_told_from_a_leak_by_the_interval(value: float, low: float, high: float, state: str) -> None:
    assert Limit(name="", figure=Figure(value=value, low=low, high=high), limit=0.55, advice="").state == state


def test_the_limit_can_be_chosen(app: typer.Typer, write_tree: Tree, tmp_path: Path) -> None:
    limits = ("--max-auroc", "1.0", "--max-looks", "1.0")
    assert run(app, write_tree(leaky()), "--output", tmp_path / "report", *limits) == 0
    assert json.loads((tmp_path / "report" / "audit.json").read_text())["limits"][0]["limit"] == 1.0


@pytest.fixture(scope="module")
def faulty(app: typer.Typer, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and report of a set with copies, a file that is cut off, and one whose name is not harmless."""
    root, files = tmp_path_factory.mktemp("faulty"), leaky()
    files["ai/gen/same.jpg"] = files["real/shop/3.jpg"]
    files["real/shop/twin.jpg"] = files["real/shop/1.jpg"]
    files["real/shop/cut.jpg"] = files["real/shop/4.jpg"][:2000]
    files["real/shop/<script>alert(1).jpg"] = b"not a picture"
    data = write_files(root / "data", files)
    return run(app, data, "--output", root / "report"), root / "report"


def test_copies_broken_files_and_two_labels_fail_it(faulty: tuple[int, Path]) -> None:
    code, report = faulty
    assert code == 1
    body = json.loads((report / "audit.json").read_text())
    twins, copies = sorted(body["copies"], key=lambda each: "both real and ai" in each["problem"])
    assert {twins["first"], twins["second"]} == {"real/shop/twin.jpg", "real/shop/1.jpg"}
    assert {copies["first"], copies["second"]} == {"ai/gen/same.jpg", "real/shop/3.jpg"}
    assert copies["exact"]
    assert "both real and ai" in copies["problem"]
    assert sorted(body["broken"]) == ["real/shop/<script>alert(1).jpg", "real/shop/cut.jpg"]
    assert [limit["state"] for limit in body["limits"]][1:3] == ["exceeded", "exceeded"]


def test_a_copy_in_the_test_set_is_a_leak(app: typer.Typer, write_tree: Tree, tmp_path: Path) -> None:
    files = leaky()
    other = {"real/x.jpg": files["real/shop/0.jpg"], "ai/y.jpg": draw(5000, size=(240, 240))}
    root, against = write_tree(files), write_tree(other, "held_out")
    assert run(app, root, "--against", against, "--output", tmp_path / "report") == 1
    (copies,) = json.loads((tmp_path / "report" / "audit.json").read_text())["copies"]
    assert copies["second"] == "held_out (other set): real/x.jpg"
    assert copies["problem"] == "in both data sets"


def test_copies_joined_by_a_group_are_no_problem(app: typer.Typer, write_tree: Tree, tmp_path: Path) -> None:
    files = leaky()
    files["real/shop/again.jpg"] = files["real/shop/3.jpg"]
    root = write_tree(files)
    lines = ["path,label,source,group"]
    lines += [
        f"{path},{path.split('/')[0]},s,{'g3' if path.endswith(('p/3.jpg', 'again.jpg')) else path}" for path in files
    ]
    (root / "manifest.csv").write_text("\n".join(lines))
    run(app, root, "--output", tmp_path / "report")
    body = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert [copies["problem"] for copies in body["copies"]] == [""]
    assert body["limits"][1]["state"] == "holds"


def test_the_page_needs_nothing_else_and_escapes_names(faulty: tuple[int, Path]) -> None:
    page = (faulty[1] / "audit.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1).jpg" in page
    assert page.count("data:image/jpeg;base64,") > 12
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)


def test_a_model_that_reads_compression_fails_the_limit(
    app: typer.Typer, write_tree: Tree, repository: Path, tmp_path: Path
) -> None:
    # The toy model takes bright for AI: bright real pictures are contradicted, compression moves nothing.
    files = {f"real/a/{i}.jpg": draw(i, level=80, size=(230, 230)) for i in range(COUNT)}
    files |= {f"ai/b/{i}.jpg": draw(100 + i, level=200, size=(230, 230)) for i in range(COUNT)}
    files["real/a/wrong.jpg"] = draw(999, level=240, size=(230, 230))
    run(app, write_tree(files), "--onnx", repository / "classifier", "--output", tmp_path / "report")
    model = json.loads((tmp_path / "report" / "audit.json").read_text())["model"]
    assert model["plain"]["value"] == pytest.approx((1 + COUNT / (COUNT + 1)) / 2)
    assert abs(model["shift"]["value"]) < 0.02
    assert [doubt["path"] for doubt in model["doubts"]] == ["real/a/wrong.jpg"]
    assert "real/a/wrong.jpg" in (tmp_path / "report" / "audit.html").read_text()


def test_what_could_not_run_says_so(app: typer.Typer, write_tree: Tree, tmp_path: Path) -> None:
    few = write_tree({"real/a.jpg": draw(1), "ai/b.jpg": draw(2)})
    with pytest.raises(UsageError, match="one model"):
        run(app, few, "--onnx", tmp_path, "--checkpoint", tmp_path)
    with pytest.raises(DataError, match="at least 5"):
        run(app, few, "--output", tmp_path / "report")
    with pytest.raises(DataError, match="manifest"):
        run(app, tmp_path / "nothing")
    with pytest.raises(ModelError):
        run(app, few, "--onnx", tmp_path / "nothing")
    assert not (tmp_path / "report").exists()
