"""One set of versions: constraints.txt, what the images lock, what the extras allow, and what these tests run with."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest
from deployment import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = sorted(path.stem for path in (ROOT / "docker" / "requirements").glob("*.txt"))
# Instead of `serving` and of what tests run with; it has the same server and another build of one package.
ELSEWHERE = {"gpu"}


def pins(path: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (ROOT / path).read_text("utf-8"), re.M)
    assert len(found) == len({name for name, _ in found}), f"{path} has two versions of one package"
    return {canonicalize_name(name): number for name, number in found}


CONSTRAINTS = pins("constraints.txt")


def requirements(extra: str) -> Iterator[Requirement]:
    """Of an extra, through the extras that it names."""
    for text in EXTRAS[extra]:
        each = Requirement(text)
        if each.name == "veriphoto":
            for part in each.extras:
                yield from requirements(part)
        else:
            yield each


@pytest.mark.parametrize("lock", LOCKS)
def test_an_image_has_the_versions_that_everything_else_has(lock: str) -> None:
    locked = pins(f"docker/requirements/{lock}.txt")
    differ = {name: number for name, number in locked.items() if CONSTRAINTS.get(name, number) != number}
    assert not differ, "run docker/requirements/lock.sh"


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - ELSEWHERE))
def test_the_versions_are_allowed_by_every_extra(extra: str) -> None:
    for each in requirements(extra):
        if each.marker is None or each.marker.evaluate():
            assert each.specifier.contains(CONSTRAINTS[canonicalize_name(each.name)]), each


@pytest.mark.parametrize(
    "extra", ["serving", "gpu", "page", "registry", "train", "export", "pipeline", "monitor", "review", "ray", "data"]
)
def test_no_extra_may_bring_what_breaks_the_server(extra: str) -> None:
    """Whichever is installed last: the server's stub needs numpy 1, and pyarrow 26 cannot be imported with that."""
    wanted = {each.name: each for each in requirements(extra)}
    assert not wanted["numpy"].specifier.contains("2.0.0")
    for python in ("3.11", "3.12"):
        marker = wanted["numpy"].marker
        assert marker is None or marker.evaluate({"python_version": python})
    # Streamlit, MLflow and Ray bring pyarrow, and take any.
    if {"streamlit", "mlflow", "ray"} & wanted.keys():
        assert not wanted["pyarrow"].specifier.contains("26.0.0")


def test_what_these_tests_run_with_is_what_is_locked() -> None:
    differ = {}
    for name, number in CONSTRAINTS.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if Version(installed).public != number:
            differ[name] = (number, installed)
    assert not differ, "run make test, or docker/requirements/lock.sh after a change of pyproject.toml"


def test_what_is_installed_fits_together() -> None:
    """By what each package says of the others (pip check, without pip), in the versions of constraints.txt."""
    wrong = []
    environment = {**default_environment(), "extra": ""}
    for name in CONSTRAINTS:
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for each in map(Requirement, needs):
            number = CONSTRAINTS.get(canonicalize_name(each.name))
            applies = each.marker is None or each.marker.evaluate(environment)
            if applies and number is not None and not each.specifier.contains(number, prereleases=True):
                wrong.append(f"{name} needs {each}, locked is {number}")
    assert not wrong


@pytest.mark.parametrize(
    "modules", ["pyarrow.parquet, pyarrow.dataset, pandas", "ray.data", "streamlit", "sklearn, scipy.stats, matplotlib"]
)
def test_what_leans_on_numpy_can_be_imported_with_it(modules: str) -> None:
    """What packages do not say of each other shows only here, as pyarrow 26 with numpy 1 did."""
    script = f"import numpy, {modules}; assert numpy.__version__ == {CONSTRAINTS['numpy']!r}"
    missing = [name for name in re.findall(r"(\w+)[.\w]*", modules) if not _installed(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed; make test brings it")
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)


def _installed(module: str) -> bool:
    try:
        version({"sklearn": "scikit-learn"}.get(module, module))
    except PackageNotFoundError:
        return False
    return True


def test_environments_are_made_with_the_constraints() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^INSTALL := .* --constraint constraints.txt$", makefile, re.M)
    installs = re.findall(r"^\t(.*(?:--editable|--group).*)$", makefile, re.M)
    assert installs
    assert all(each.startswith("$(INSTALL) ") for each in installs)


def test_nobody_is_told_to_install_another_project_of_our_name() -> None:
    """The name on the package index is not ours: what messages and documents say works from a checkout."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in files.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yml", ".yaml", ".sh", ".toml"} and path.is_file():
            assert not re.search(r"pip install (?:-\S+ )*['\"]?" + "veriphoto", path.read_text("utf-8")), name
