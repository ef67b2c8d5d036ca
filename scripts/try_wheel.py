"""Install the wheel as a stranger would and make an ad of a photo:  python scripts/try_wheel.py --python python3.13

Makes an environment with nothing in it, installs dist/*.whl without extras from the package index, prints the version,
turns a photo into an ad, and has pip resolve every extra. For release days, once per supported Python: it needs the
index and some gigabytes. tests/test_wheel.py does the same offline, in an environment that holds the packages that the
wheel asks for and no others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import numpy as np
from PIL import Image

from clickscape.catalog import sample

ROOT = Path(__file__).parents[1]


def build(folder: Path) -> Path:
    """Build the wheel into a folder, without the network; return its path."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def metadata(wheel: Path) -> Message:
    """Return what the wheel says of itself: Requires-Dist, Provides-Extra and the rest."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (one for one in opened.namelist() if one.endswith(".dist-info/METADATA"))
        return message_from_bytes(opened.read(name))


def photo_feed(folder: Path) -> Path:
    """Write a photo of a mug before a gray wall and a catalog that names it; return the catalog's path."""
    mug = sample.cutout("coffee_mug-original", 360).astype(np.float64)
    photo = np.full((600, 600, 3), 228.0)
    height, width = mug.shape[:2]
    place = photo[300 - height // 2 :, 300 - width // 2 :][:height, :width]
    place += mug[..., 3:] / 255 * (mug[..., :3] - place)
    Image.fromarray(photo.round().astype(np.uint8)).save(folder / "mug.jpg", quality=92)
    feed = folder / "catalog.csv"
    feed.write_text("id,title,category,image\nM1,Blue coffee mug,Home > Kitchen,mug.jpg\n", encoding="utf-8")
    return feed


def commands(binaries: Path, feed: Path, out: Path) -> Iterator[list[str]]:
    """Yield the command lines that have to work: the version, and an ad of every product in `out`."""
    program = str(binaries / "clickscape")
    yield [program, "--version"]
    options = ["--out", str(out), "--size", "256", "--keep", "1", "--workers", "1", "--photographs", "scenes"]
    yield [program, "generate", "--catalog", str(feed), *options]


def clean_environment(home: Path) -> dict[str, str]:
    """Return environment variables that lead to no other package than those of the environment itself."""
    kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS") if name in os.environ}
    return {**kept, "PATH": os.defpath, "HOME": str(home)}


def main() -> None:
    """Build, install, make an ad, resolve the extras; the first command that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environment")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "try-wheel", help="where everything is made")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True)  # an older one is for its owner to remove
    wheel = build(folder / "dist")
    subprocess.run([asked.python, "-m", "venv", folder / "venv"], check=True)
    binaries = folder / "venv" / "bin"
    install = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "torch==2.13.0", wheel], check=True)
    subprocess.run([binaries / "python", "--version"], check=True)
    for command in commands(binaries, photo_feed(folder), folder / "ads"):
        subprocess.run(command, check=True, cwd=folder, env=clean_environment(folder))
    for extra in metadata(wheel).get_all("Provides-Extra", []):
        subprocess.run([*install, "--dry-run", f"{wheel}[{extra}]"], check=True)
        print(f"resolves: clickscape[{extra}]", flush=True)


if __name__ == "__main__":
    main()
