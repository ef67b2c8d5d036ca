"""Does Label Studio's own SDK take what `clickscape labels export` writes? Needs no clickscape, and a venv of its own.

The SDK weighs half a gigabyte with what it needs, so it is no dependency of ours:

    clickscape labels export my-shop --out labels.json
    python -m venv label-studio && label-studio/bin/pip install label-studio-sdk
    label-studio/bin/python scripts/check_label_studio.py labels.json

Its check of an answer (2.1.2) looks up `to_name` as one object, where Label Studio names both of a pair ("left,right"):
an answer is checked against each of the two.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main(path: Path) -> None:
    """Print what was checked; exit code 1 with the first thing that the SDK refuses."""
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(path.with_suffix(".xml").read_text(encoding="utf-8"))
    interface.validate()
    tasks = json.loads(path.read_text(encoding="utf-8"))
    answers = 0
    for number, task in enumerate(tasks, start=1):
        if not interface.validate_task({"data": task["data"]}):
            raise SystemExit(f"task {number}: its data do not suit the labeling interface")
        for annotation in task.get("annotations", []):
            for result in annotation["result"]:
                answers += 1
                for name in result["to_name"].split(","):
                    if faults := interface.validate_region({**result, "to_name": name}, return_errors=True):
                        raise SystemExit(f"task {number}: {faults[0]}")
    print(
        f"label-studio-sdk {version('label-studio-sdk')}: the interface, {len(tasks)} tasks, {answers} answers: valid"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
