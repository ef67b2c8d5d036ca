"""Stage `heat map`: what the reward model says of the regions of one creative, as a picture and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from clickscape import reward as reward_room
from clickscape.catalog.images import open_image
from clickscape.compute.device import best_device
from clickscape.files import atomic_file, file_name, write_text
from clickscape.files import to_json as json_line
from clickscape.reward.explain.occlusion import occlude
from clickscape.reward.explain.overlay import heat_panel
from clickscape.reward.explain.regions import Region, regions
from clickscape.stages.explain import find_creative
from clickscape.stages.progress import Progress, Stage
from clickscape.workspace import Workspace

STAGE = "heat map"
MAPS = "explanations/maps"
"""Folder of the workspace that holds them: <creative>.webp and, of what it says in words, <creative>.json."""


@dataclass(frozen=True, slots=True)
class HeatMapFiles:
    """A creative's heat map, its words, and what both say."""

    picture: Path
    record: Path
    regions: tuple[Region, ...]


def heat_map(workspace: Workspace, creative_id: str) -> Stage[HeatMapFiles]:
    """Draw what the reward model loses where a region of a creative is hidden; each file whole or not at all.

    WorkspaceError for an id that is not there, ModelError without a reward model.
    """
    creative, product = find_creative(workspace, creative_id)
    yield Progress(STAGE, 0, 1, "hiding parts of the picture")
    image = open_image(creative.image)[..., :3]
    heat = occlude(reward_room.load(workspace.models / "reward", device=best_device()), product, image)
    folder, found = workspace.path / MAPS, regions(heat)
    name = file_name(creative_id)
    made = HeatMapFiles(folder / f"{name}.webp", folder / f"{name}.json", found)
    with workspace.lock():
        with atomic_file(made.picture) as temporary:
            Image.fromarray(heat_panel(image, heat)).save(temporary, "WEBP", quality=85)
        write_text(made.record, json_line({"regions": [asdict(one) for one in found]}))
    yield Progress(STAGE, 1, 1)
    return made
