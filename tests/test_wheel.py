"""What is published works for a stranger: the wheel alone, with the packages that it asks for and no others."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

from clickscape import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/try_wheel.py, which does the same with the package index."""
    spec = importlib.util.spec_from_file_location("try_wheel", ROOT / "scripts" / "try_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = script.build(tmp_path_factory.mktemp("dist"))
    return path


def required(requirements: list[str]) -> dict[str, Distribution]:
    """Every distribution that the requirements lead to, by its name; extras are followed where they are asked for."""
    found: dict[str, Distribution] = {}
    followed: set[tuple[str, str]] = set()
    waiting = [(Requirement(one), "") for one in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        package = distribution(requirement.name)
        assert requirement.specifier.contains(package.version, prereleases=True), requirement
        found[requirement.name.lower()] = package
        for inner in ("", *requirement.extras):
            if (requirement.name, inner) not in followed:
                followed.add((requirement.name, inner))
                waiting += [(Requirement(one), inner) for one in package.requires or ()]
    return found


def link(packages: dict[str, Distribution], site: Path) -> None:
    """Link every file of the packages into an environment's folder for packages."""
    for package in packages.values():
        for file in package.files or ():
            if ".." not in file.parts:  # scripts and manuals
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(file.locate())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def binaries(wheel: Path, script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment in which nothing is installed but the wheel and what it asks for without extras."""
    folder = tmp_path_factory.mktemp("stranger") / "venv"
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", folder / "bin" / "python"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", wheel], check=True)
    needed = [one for one in script.metadata(wheel).get_all("Requires-Dist") if "extra ==" not in one]
    (site,) = folder.glob("lib/python*/site-packages")
    link(required(needed), site)
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_without_extras_makes_an_ad_of_a_photo(binaries: Path, script: ModuleType, tmp_path: Path) -> None:
    feed = script.photo_feed(tmp_path)
    environment = script.clean_environment(tmp_path) | {"OMP_NUM_THREADS": "1"}
    printed = []
    for command in script.commands(binaries, feed, tmp_path / "ads"):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == f"clickscape {__version__}\n"
    (ad,) = (tmp_path / "ads").glob("*.png")
    with Image.open(ad) as image:
        assert image.size == (256, 256)
        assert len(image.convert("RGB").getcolors(maxcolors=256 * 256) or ()) > 1_000
    left_out = "import importlib.util as u; print([n for n in ('fastapi', 'diffusers', 'pytest') if u.find_spec(n)])"
    done = subprocess.run([binaries / "python", "-c", left_out], env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", "the environment holds what the wheel does not ask for"
    program = binaries / "clickscape"
    subprocess.run([program, "new", "shop"], env=environment, cwd=tmp_path, check=True, capture_output=True)
    refused = subprocess.run([program, "serve", "shop"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "pip install 'clickscape[serve]'" in refused.stderr


@pytest.mark.slow
def test_bash_completes_commands_and_options(binaries: Path, script: ModuleType, tmp_path: Path) -> None:
    environment = script.clean_environment(tmp_path)
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    for words, completed in ((["gen"], {"generate"}), (["score", "--prod"], {"--product"})):
        typed = f"COMP_WORDS=(clickscape {' '.join(words)}); COMP_CWORD={len(words)}; _clickscape_completion clickscape"
        asked = f'eval "$(_CLICKSCAPE_COMPLETE=source_bash clickscape)"; {typed}; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == completed


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_the_package_alone(wheel: Path, script: ModuleType) -> None:
    assert wheel.stat().st_size <= 25e6
    with zipfile.ZipFile(wheel) as opened:
        names = {name.split("/")[0] for name in opened.namelist()}
    assert names == {"clickscape", f"clickscape-{__version__}.dist-info"}
    told = script.metadata(wheel)
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_every_module_compiles_where_the_interpreter_is_at_hand(wheel: Path, version: str, tmp_path: Path) -> None:
    """Syntax of all modules, and what an import loads of the standard library; scripts/try_wheel.py runs the whole."""
    program = shutil.which(f"python{version}")
    if not program or subprocess.run([program, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no python{version} here")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    code = "import compileall, clickscape, sys; sys.exit(not compileall.compile_dir('clickscape', quiet=1))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    command = [program, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pythons_that_are_promised_are_those_that_are_tried() -> None:
    promised = {one.rsplit(" ", 1)[1] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert promised == set(PYTHONS)
    assert [one for one in ("3.10", *PYTHONS) if one in SpecifierSet(PROJECT["requires-python"])] == list(PYTHONS)


def test_every_install_line_names_an_extra_that_there_is() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in [ROOT / "README.md", *files])
    named = {extra for some in re.findall(r"clickscape\[([\w,-]+)\]", text) for extra in some.split(",")}
    assert {"serve", "diffusion"} <= named <= set(PROJECT["optional-dependencies"])


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, PROJECT["license"])
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert "2502.06823" in str(citation["references"])


def test_issue_forms_ask_for_what_a_report_needs() -> None:
    forms = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in
             (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}  # fmt: skip
    assert forms.pop("config") == {"blank_issues_enabled": False}
    assert set(forms) == {"bug", "idea"}
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 1
    assert "clickscape --version" in str(forms["bug"])
    assert "SECURITY.md" in str(forms["bug"])
