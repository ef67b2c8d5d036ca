"""What a stage did: one folder per run with a manifest and its metrics, so that finished work is not repeated."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from clickscape.errors import WorkspaceError
from clickscape.files import fingerprint, to_json, write_text
from clickscape.json_files import parse_json, read_json
from clickscape.regular_files import append_line, open_regular, read_bytes

if TYPE_CHECKING:
    from clickscape.workspace.folder import Workspace

_MADE_BY: Mapping[str, str] = {
    "catalog/products.parquet": "ingest",
    "creatives/creatives.parquet": "generate",
    "clicks/estimates.parquet": "clicks",
    "clicks/pairs.parquet": "clicks",
    "clicks/audiences.parquet": "clicks",
    "models/pretrained": "pretrain",
    "models/reward": "reward",
    "models/prompt": "optimize",
}
"""File or folder of a workspace → the command that makes it."""

_STEP = ("variant", "round", "number")
"""What tells the steps of a run apart, wherever a stage logs it."""

_PACKAGES = ("clickscape", "torch", "transformers", "numpy", "duckdb", "ibis-framework")


class Manifest(BaseModel):
    """manifest.json: what a run was asked, from what, with what, and when (UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    status: Literal["running", "done"]
    fingerprint: str
    config: Any
    inputs: dict[str, str] = Field(description="name → sha256 of the content")
    outputs: dict[str, str] = Field({}, description="path in the workspace → sha256 of the content")
    result: dict[str, Any] = Field({}, description="figures that the stage ends with")
    versions: dict[str, str]
    started: AwareDatetime
    ended: AwareDatetime | None = None


class Run:
    """One run of a stage; a context manager that holds the lock and notes `done` when its block succeeds."""

    def __init__(self, workspace: Workspace, folder: Path, manifest: Manifest, lock: ExitStack) -> None:
        self.folder = folder
        self.manifest = manifest
        self._workspace = workspace
        self._lock = lock
        self._logged = False

    @property
    def metrics_path(self) -> Path:
        """metrics.jsonl: one line per step."""
        return self.folder / "metrics.jsonl"

    def log(self, step: Mapping[str, object]) -> None:
        """Append one step to metrics.jsonl at once; a number that is not finite is written as null.

        A run that was taken up again logs the steps since its last checkpoint once more: its first step here takes back
        that step and all after it.
        """
        if not self._logged:
            self._logged = True
            _drop_from(self.metrics_path, {key: step[key] for key in _STEP if key in step})
        append_line(self.metrics_path, to_json(step))

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged so far, by this run and by the killed one that it goes on from."""
        return read_metrics(self.metrics_path)

    def finish(
        self,
        *,
        outputs: Mapping[str, Path] | list[Path] | tuple[Path, ...] = (),
        result: Mapping[str, object] | None = None,
        now: datetime | None = None,
    ) -> Manifest:
        """Note that the stage is done, what it made (paths inside the workspace) and its figures; frees the lock."""
        paths = list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)
        root = self._workspace.path
        self.manifest = self.manifest.model_copy(
            update={
                "status": "done",
                "outputs": {path.absolute().relative_to(root).as_posix(): fingerprint(path) for path in paths},
                "result": json.loads(to_json(result or {})),
                "ended": now or datetime.now(UTC),
            }
        )
        _write(self.folder, self.manifest)
        self._lock.close()
        return self.manifest

    def close(self) -> None:
        """Free the lock; a run that was not finished stays `running` and can be taken up again."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.manifest.status == "running":
            self.finish()
        self.close()


def start(workspace: Workspace, stage: str, config: object, inputs: Mapping[str, object], *, now: datetime) -> Run:
    """Take the lock and open a run folder; see `Workspace.start_run`."""
    lock = ExitStack()
    lock.enter_context(workspace.lock())
    try:
        digests = _digests(inputs)
        wanted = _fingerprint(stage, config, digests)
        for folder, manifest in _all(workspace, stage):
            if manifest.status == "running" and manifest.fingerprint == wanted:
                _drop_torn_line(folder / "metrics.jsonl")
                return Run(workspace, folder, manifest, lock)
        manifest = Manifest(
            stage=stage,
            status="running",
            fingerprint=wanted,
            config=json.loads(to_json(config)),
            inputs=digests,
            versions=_versions(),
            started=now.astimezone(UTC),
        )
        name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{stage}"
        folder, number = workspace.runs_folder / name, 2
        while folder.exists():
            folder, number = workspace.runs_folder / f"{name}-{number}", number + 1
        folder.mkdir(parents=True)
        _write(folder, manifest)
        return Run(workspace, folder, manifest, lock)
    except BaseException:
        lock.close()
        raise


def newest(workspace: Workspace, stage: str) -> tuple[Path, Manifest] | None:
    """Folder and manifest of the newest finished run; see `Workspace.newest`."""
    return next((found for found in _all(workspace, stage) if found[1].status == "done"), None)


def made_by(workspace: Workspace, stage: str, path: Path) -> bool:
    """Whether a file is the output of a run; see `Workspace.made_by`."""
    name, manifests = path.relative_to(workspace.path).as_posix(), [manifest for _, manifest in _all(workspace, stage)]
    if any(manifest.status == "running" for manifest in manifests):
        return True
    made = {manifest.outputs[name] for manifest in manifests if name in manifest.outputs}
    return bool(made) and fingerprint(path) in made


def finished(workspace: Workspace, stage: str, config: object, inputs: Mapping[str, object]) -> Manifest | None:
    """Newest finished run of the same work, if its outputs are still there; see `Workspace.finished`."""
    wanted = _fingerprint(stage, config, _digests(inputs))
    for _, manifest in _all(workspace, stage):
        if manifest.status == "done" and manifest.fingerprint == wanted:
            paths = {workspace.path / name: digest for name, digest in manifest.outputs.items()}
            # an older run with the same fingerprint may have made other bytes, so the search goes on
            if all(path.exists() and fingerprint(path) == digest for path, digest in paths.items()):
                return manifest
    return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line that a kill tore off is left out, any other damage is a WorkspaceError."""
    if not path.exists():
        return []
    lines = read_bytes(path).split(b"\n")[:-1]
    remedy = "Delete the line, or the run's folder."
    return [
        parse_json(line, dict[str, Any], where=f"{path}, line {number}", error=WorkspaceError, remedy=remedy)
        for number, line in enumerate(lines, start=1)
    ]


def missing(path: Path) -> WorkspaceError:
    """Return the error about a file of a workspace that is not there, with the command that makes it."""
    command = _MADE_BY.get(f"{path.parent.name}/{path.name}")
    remedy = f"Run `clickscape {command} {path.parent.parent.name}` first." if command else "Run its stage first."
    return WorkspaceError(f"{path} is missing. {remedy}")


def _digests(inputs: Mapping[str, object]) -> dict[str, str]:
    for value in inputs.values():
        if isinstance(value, Path) and not value.exists():
            raise missing(value)
    return {name: fingerprint(value) for name, value in inputs.items()}


def _fingerprint(stage: str, config: object, digests: Mapping[str, str]) -> str:
    return fingerprint({"stage": stage, "config": config, "inputs": digests})


def _all(workspace: Workspace, stage: str) -> list[tuple[Path, Manifest]]:
    """Manifests of a stage, newest first; a folder that was killed before its manifest counts for nothing."""
    found = []
    for path in workspace.runs_folder.glob("*/manifest.json"):
        manifest = read_json(path, Manifest, remedy="Delete the run's folder, so that the stage runs again.")
        if manifest.stage == stage:
            found.append((path.parent, manifest))
    return sorted(found, key=lambda pair: (pair[1].started, pair[0].name), reverse=True)


def _write(folder: Path, manifest: Manifest) -> None:
    write_text(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n")


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        with open(open_regular(path, os.O_RDWR), "r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)


def _drop_from(path: Path, step: Mapping[str, object]) -> None:
    """Cut metrics off before the line of this step, if there is one."""
    if not step or not path.exists():
        return
    lines, end = read_metrics(path), 0
    for line, raw in zip(lines, read_bytes(path).split(b"\n"), strict=False):
        if all(line.get(key) == value for key, value in step.items()):
            with open(open_regular(path, os.O_RDWR), "r+b") as stream:
                stream.truncate(end)
            return
        end += len(raw) + 1


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
