"""Write docs/reference/: one HTML page per module, from the docstrings. Run by `make docs`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pdoc

TARGET = Path(__file__).parents[1] / "docs" / "reference"


def main() -> None:
    """Rebuild the whole folder, so that nothing of a removed module stays."""
    shutil.rmtree(TARGET, ignore_errors=True)
    pdoc.render.configure(docformat="google", search=False, show_source=False)
    pdoc.pdoc("clickscape", "!clickscape.__main__", output_directory=TARGET)
    print(f"made {TARGET}")


if __name__ == "__main__":
    main()
