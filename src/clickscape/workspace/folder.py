"""`Workspace`: paths, tables, images and the lock of one shop's folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clickscape.config import Settings
from clickscape.config import load as load_settings
from clickscape.errors import LogError, WorkspaceError
from clickscape.files import atomic_file, file_name, sweep, write_text
from clickscape.regular_files import locked, open_regular, real_path
from clickscape.types import Creative, CreativeStatus, Product
from clickscape.workspace import runs, tables

_SETTINGS, _LOCK = "clickscape.toml", ".lock"
_LOSSLESS: Mapping[str, Any] = {"lossless": True, "method": 0}
_FOLDERS = ("catalog", "creatives", "clicks", "models", "runs")


class Workspace:
    """One shop's folder; make it with `Workspace.create`, come back to it with `Workspace.open`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.settings_path = self.path / _SETTINGS
        self.catalog = self.path / "catalog"  # products.parquet, split.json and cutouts/
        self.products_path = self.catalog / "products.parquet"
        self.remote = self.path / "remote"  # cache of the images that were fetched for `ingest --allow-remote`
        self.creatives_path = self.path / "creatives" / "creatives.parquet"
        self.renditions_path = self.path / "creatives" / "renditions.parquet"
        self.clicks = self.path / "clicks"  # the logs, and what was estimated from them
        self.events_folder = self.clicks / "events"  # Parquet files of the table `events`
        self.counts_path = self.clicks / "counts.parquet"
        self.models = self.path / "models"  # checkpoint folders: models/prompt, models/reward
        self.runs_folder = self.path / "runs"  # one folder per run of a stage
        self._threads = threading.RLock()
        self._depth = 0
        self._swept = False

    @classmethod
    def create(cls, path: str | Path, *, exist_ok: bool = False) -> Workspace:
        """Make the folder and a commented clickscape.toml; refuses a folder that already holds something else."""
        workspace = cls(path)
        if workspace.path.exists() and not workspace.path.is_dir():
            raise WorkspaceError(f"{path} is a file, expected a folder. Choose another name.")
        if workspace.exists:
            if exist_ok:
                return cls.open(path)
            raise WorkspaceError(f"{path} is a workspace already. Use it as it is, or choose another name.")
        found = [entry.name for entry in workspace.path.iterdir()] if workspace.path.exists() else []
        if foreign := [name for name in found if name not in _FOLDERS and not name.startswith((".tmp-", _LOCK))]:
            raise WorkspaceError(f"{path} is not empty (it holds {foreign[0]!r}). Choose a new or an empty folder.")
        workspace.path.mkdir(parents=True, exist_ok=True)
        with workspace.lock():
            for name in _FOLDERS:
                (workspace.path / name).mkdir(exist_ok=True)
            write_text(workspace.settings_path, _commented_defaults())
        return workspace

    @classmethod
    def open(cls, path: str | Path) -> Workspace:
        """Come back to a workspace and sweep what a killed run left half-written, unless another process is writing."""
        workspace = cls(path)
        if not workspace.exists:
            raise WorkspaceError(f"{path} is not a workspace (no {_SETTINGS}). Make one with `clickscape new {path}`.")
        try:
            with workspace.lock():
                pass
        except (WorkspaceError, OSError):  # busy or read-only: reading is still fine
            pass
        return workspace

    @property
    def exists(self) -> bool:
        """Whether the folder is a workspace; clickscape.toml alone may be deleted, which means the defaults."""
        return self.settings_path.is_file() or all((self.path / name).is_dir() for name in ("catalog", "runs"))

    @property
    def settings(self) -> Settings:
        """What clickscape.toml says now."""
        return load_settings(self.settings_path)

    def cutout_path(self, product_id: str) -> Path:
        """PNG of a product's cut-out."""
        return self.catalog / "cutouts" / f"{file_name(product_id)}.png"

    def image_path(self, creative_id: str) -> Path:
        """Lossless WebP of a creative."""
        return self.path / "creatives" / "images" / f"{file_name(creative_id)}.webp"

    def mask_path(self, creative_id: str) -> Path:
        """PNG of where a creative shows its product."""
        return self.path / "creatives" / "masks" / f"{file_name(creative_id)}.png"

    def resolve(self, image: str) -> Path:
        """Absolute path of an image that a table names; a relative one must stay inside the workspace."""
        path = self.path / image
        real = real_path(path)
        if real is None:
            raise WorkspaceError(f"{image[:200]!r} is no path of an image in {self.path}. Ingest the catalog again.")
        if not Path(image).is_absolute() and not real.is_relative_to(self.path.resolve()):
            raise WorkspaceError(f"{image!r} leaves the workspace {self.path}. Ingest the catalog again.")
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process that writes here; WorkspaceError when another one is. Nests within a process."""
        with self._threads, nullcontext() if self._depth else locked(self.path / _LOCK):
            self._depth += 1
            try:
                if not self._swept:
                    sweep(self.path)
                    self._swept = True
                yield
            finally:
                self._depth -= 1

    def write_products(self, products: Sequence[Product]) -> None:
        """Replace the table `products`; images inside the workspace are noted relative to it."""
        with self.lock():
            self.write_table(self.products_path, tables.product_table(products, name_image=self.name_image))

    def products(self) -> list[Product]:
        """The catalog, with absolute image paths; WorkspaceError before `ingest`."""
        table = self.read_table(self.products_path, tables.PRODUCTS)
        return tables.products_from(table, resolve=self.resolve, where=self.products_path)

    def write_creatives(self, creatives: Sequence[Creative], *, now: datetime | None = None) -> None:
        """Replace the table `creatives`; `now` (UTC) is noted as the time of making."""
        with self.lock():
            self.write_table(self.creatives_path, self._creative_table(creatives, now))

    def append_creatives(self, creatives: Sequence[Creative], *, now: datetime | None = None) -> None:
        """Add creatives to the table; an id that is there already is a WorkspaceError."""
        self._add(creatives, now=now)

    def update_creatives(self, creatives: Sequence[Creative]) -> None:
        """Add creatives, each in the place of one of the same id, if there is one; all others stay as they are."""
        self._add(creatives, instead=("creative_id", [creative.creative_id for creative in creatives]))

    def replace_creatives(self, creatives: Sequence[Creative], *, model_id: str) -> None:
        """Put creatives in the place of all that the same model made; those of other models stay as they are."""
        self._add(creatives, instead=("model_id", [model_id]))

    def _add(
        self,
        creatives: Sequence[Creative],
        *,
        now: datetime | None = None,
        instead: tuple[str, Sequence[str]] = ("creative_id", ()),
    ) -> None:
        """Add creatives in the place of those that have one of these values in this column."""
        with self.lock():
            table = self._creative_table(creatives, now)
            if self.creatives_path.exists():
                old = self.read_table(self.creatives_path, tables.CREATIVES)
                table = pa.concat_tables([tables.without(old, *instead), table])
            tables.check_unique(table["creative_id"].to_pylist(), what="creative")
            self.write_table(self.creatives_path, table)

    def mark_creatives(self, statuses: Mapping[str, CreativeStatus]) -> None:
        """Change the status of creatives, id → status, all or none; an id that is not there is a WorkspaceError."""
        with self.lock():
            table = self.read_table(self.creatives_path, tables.CREATIVES)
            ids = table["creative_id"].to_pylist()
            if missing := sorted(set(statuses) - set(ids)):
                raise WorkspaceError(
                    f"{self.path} has no creative {missing[0]!r}. `clickscape review {self.path.name}` lists them."
                )
            column = [statuses.get(name, old) for name, old in zip(ids, table["status"].to_pylist(), strict=True)]
            place = table.schema.get_field_index("status")
            self.write_table(self.creatives_path, table.set_column(place, "status", pa.array(column, pa.string())))

    def creatives(self) -> list[Creative]:
        """Every creative, with absolute image paths; an empty list when none was made yet."""
        if not self.creatives_path.exists():
            return []
        table = self.read_table(self.creatives_path, tables.CREATIVES)
        return tables.creatives_from(table, resolve=self.resolve, where=self.creatives_path)

    def some_creatives(self) -> list[Creative]:
        """Every creative, as `creatives`; WorkspaceError when there is none, for whoever can do nothing without."""
        if found := self.creatives():
            return found
        name = self.path.name
        raise WorkspaceError(f"{self.path} has no creatives. Run `clickscape generate {name}` first.")

    def save_image(self, creative_id: str, image: np.ndarray) -> Path:
        """Write a creative's pixels, uint8 (height, width, 3) sRGB, without loss; returns the path."""
        return self._save(self.image_path(creative_id), image, channels=3, options=_LOSSLESS)

    def save_mask(self, creative_id: str, mask: np.ndarray) -> Path:
        """Write the product's alpha in a creative, uint8 (height, width), 255 where it hides all; returns the path."""
        return self._save(self.mask_path(creative_id), mask[..., None], channels=1, options={})

    def save_cutout(self, product_id: str, cutout: np.ndarray) -> Path:
        """Write a product's cut-out, uint8 (height, width, 4) sRGB and straight alpha; returns the path."""
        return self._save(self.cutout_path(product_id), cutout, channels=4, options={})

    def append_events(self, events: pa.Table, *, part: str) -> Path:
        """Write one file of the click log; the same `part` again replaces it, so that a repeated run adds nothing."""
        path = self.events_folder / f"{file_name(part)}.parquet"
        self.write_table(path, tables.conform(events, tables.EVENTS, where=part, error=LogError))
        return path

    def write_counts(self, counts: pa.Table) -> Path:
        """Replace the table `counts`; its columns `position`, `audience` and `allocation` are optional."""
        schema = tables.COUNTS
        for name in ("position", "audience", "allocation"):
            if name not in counts.column_names:
                schema = schema.remove(schema.get_field_index(name))
        self.write_table(self.counts_path, tables.conform(counts, schema, where="counts", error=LogError))
        return self.counts_path

    def write_table(self, path: Path, table: pa.Table) -> None:
        """Write any table into the workspace, atomically."""
        with self.lock(), atomic_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def read_table(self, path: Path, schema: pa.Schema | None = None) -> pa.Table:
        """Read a table; WorkspaceError when it is missing, unreadable or lacks a column of `schema`."""
        if not path.exists():
            raise runs.missing(path)
        try:
            with open(open_regular(path, os.O_RDONLY), "rb") as stream, pq.ParquetFile(stream) as file:
                table = file.read()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise WorkspaceError(f"{path} cannot be read ({error}). Delete it and run its stage again.") from None
        if schema is not None:
            table = tables.conform(table, schema, where=str(path), error=WorkspaceError)
        tables.check_filled(table, where=path)
        return table

    def start_run(
        self, stage: str, config: object, inputs: Mapping[str, object], *, now: datetime | None = None
    ) -> runs.Run:
        """Begin a stage and hold the lock until it ends; a killed run of the same inputs and settings goes on in place.

        `config`: the stage's settings; `inputs`: name → path (its content counts) or any value that JSON can say.
        """
        return runs.start(self, stage, config, inputs, now=now or datetime.now(UTC))

    def finished(self, stage: str, config: object, inputs: Mapping[str, object]) -> runs.Manifest | None:
        """Manifest of the newest finished run of what `start_run` would begin with these arguments, or None.

        None too when what it made is no longer there as it was made, so that a stage is repeated when it must be.
        """
        return runs.finished(self, stage, config, inputs)

    def made_by(self, stage: str, path: Path) -> bool:
        """Whether a finished run of the stage made the file as it is, or a killed run of it may have begun to."""
        return runs.made_by(self, stage, path)

    def newest(self, stage: str) -> tuple[Path, runs.Manifest] | None:
        """Folder and manifest of the newest finished run of a stage, None when there is none."""
        return runs.newest(self, stage)

    def _save(self, path: Path, image: np.ndarray, *, channels: int, options: Mapping[str, Any]) -> Path:
        with self.lock():
            return _save(path, image, channels=channels, options=options)

    def name_image(self, image: str) -> str:
        """What a table says of an image: its path relative to the workspace when it lies inside, else absolute."""
        path = self.resolve(image)
        return path.relative_to(self.path).as_posix() if image and path.is_relative_to(self.path) else image

    def _creative_table(self, creatives: Sequence[Creative], now: datetime | None) -> pa.Table:
        return tables.creative_table(creatives, name_image=self.name_image, now=now or datetime.now(UTC))


def save_ad(workspace: Workspace, creative_id: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Write a creative's pixels and mask as `save_image` and `save_mask` do, in a worker of who has the lock."""
    _save(workspace.image_path(creative_id), image, channels=3, options=_LOSSLESS)
    _save(workspace.mask_path(creative_id), mask[..., None], channels=1, options={})


def _save(path: Path, image: np.ndarray, *, channels: int, options: Mapping[str, Any]) -> Path:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
        raise WorkspaceError(
            f"{path.name}: expected uint8 (height, width, {channels}), got {image.dtype} {image.shape}."
        )
    with atomic_file(path) as temporary:
        Image.fromarray(image[..., 0] if channels == 1 else image).save(temporary, **options)
    return path


def _choices(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _commented_defaults() -> str:
    """Every setting with its unit and default, as comments, so that a later version's better default is not pinned."""
    lines = ["# Settings of this workspace. Remove the # before a line to change its value.", ""]
    for section, stage in Settings():
        lines += [f"[{section}]"]
        for name, field in type(stage).model_fields.items():
            choices = " | ".join(str(choice) for choice in _choices(field.annotation))
            note = "; ".join(part for part in (field.description, choices and f"one of {choices}") if part)
            lines += [f"# {note}"] if note else []
            lines += [f"# {name} = {json.dumps(getattr(stage, name))}"]
        lines.append("")
    return "\n".join(lines)
