"""Stage `push`: upload a model or dataset folder to a Hugging Face hub. Nothing else here uploads.

What goes is listed first: files of models and datasets alone, so that a folder with something else in it is refused
instead of published.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clickscape import model_card
from clickscape.errors import ClickscapeError, first_line
from clickscape.stages import dataset_card

SENT = frozenset({".json", ".jinja", ".md", ".model", ".parquet", ".safetensors", ".txt"})


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be uploaded, and where to: `files` below the folder, in order, with their sizes in bytes."""

    folder: Path
    kind: Literal["model", "dataset"]
    repository: str
    files: tuple[tuple[str, int], ...]

    def lines(self) -> list[str]:
        """Return a line per file, and one that says the whole."""
        total = sum(size for _, size in self.files)
        listed = [f"{size:>13,} bytes  {name}" for name, size in self.files]
        return [*listed, f"{self.kind} {self.repository}: {len(self.files)} files, {total:,} bytes"]


def plan(folder: Path, repository: str) -> Planned:
    """Check a folder, its card and the repository's name, without a network; ClickscapeError for what cannot go."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ClickscapeError(f"{repository!r} is no repository ({first_line(error)}). Write YOU/NAME.") from None
    if repository.count("/") != 1:
        raise ClickscapeError(f"{repository!r} is no repository. Write YOU/NAME.")
    files = tuple(_files(folder))
    if (folder / dataset_card.CROISSANT).is_file():
        return Planned(folder, "dataset", repository, files)
    if not any(name.endswith(".safetensors") for name, _ in files):
        raise ClickscapeError(f"{folder}: neither a model nor an exported dataset. Name a folder below models/, or one "
                              "that `clickscape dataset export` made.")  # fmt: skip
    model_card.check(folder)
    return Planned(folder, "model", repository, files)


def upload(planned: Planned, *, private: bool, endpoint: str | None = None) -> str:
    """Make the repository where there is none, upload in one commit, and return the commit's address.

    The token is that of `hf auth login` or HF_TOKEN. endpoint: None for that of HF_ENDPOINT, or the hub.
    ClickscapeError where the server refuses or is not there.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    api = HfApi(endpoint=endpoint)
    try:
        api.create_repo(planned.repository, repo_type=planned.kind, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=planned.repository,
            repo_type=planned.kind,
            folder_path=planned.folder,
            allow_patterns=[name for name, _ in planned.files],
            commit_message=f"{planned.kind.capitalize()} made by clickscape",
        )
    except Exception as error:  # of whichever HTTP library the hub's own uses
        raise ClickscapeError(
            f"{api.endpoint}: {planned.repository} was not pushed ({first_line(error)}). Log in with `hf auth login`, "
            "and look at the name and the network."
        ) from None
    return str(done.commit_url)


def _files(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes of all files; ClickscapeError for one that is neither a model's nor a dataset's."""
    found = []
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *names)):
            told = path.relative_to(folder).as_posix()
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_symlink() or hidden or (path.name in names and path.suffix not in SENT):
                raise ClickscapeError(f"{folder}: {told!r} belongs to no model and no dataset, and would be published. "
                                      "Take it out of the folder.")  # fmt: skip
            if path.name in names:
                found.append((told, path.stat().st_size))
    return sorted(found)
