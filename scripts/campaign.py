"""Try hostile and odd inputs on the command line for a stated time and print how each family ended.

Trial number n of a family is made from the seed n alone, so a fault is seen again with `--family images --only 17`; the
folder of every fault is kept under `--keep`. Exit code 1 if any trial ended in a traceback, a wrong result or hung.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hostile import shop
from tests.hostile.families import FAMILIES, VICTIM
from tests.hostile.trial import Outcome, in_child, preload, run_trial

FAULTS = ("traceback", "wrong", "hung")


def one_trial(family: str, number: int, *, base: Path, folder: Path) -> tuple[list[str], Outcome]:
    """Make trial `number` of a family in the empty `folder` and run it; returns its arguments and how it ended."""
    victim, work = folder / VICTIM, folder / "work"
    victim.parent.mkdir(parents=True)
    work.mkdir()
    victim.write_text("not yours\n", encoding="utf-8")
    case = FAMILIES[family](work, Random(f"{family} {number}"), base)
    return case.arguments, run_trial(case, folder=work)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="time for all families together")
    parser.add_argument("--family", choices=FAMILIES, help="only this one")
    parser.add_argument("--start", type=int, default=0, help="number of the first trial")
    parser.add_argument("--only", type=int, help="only the trial with this number")
    parser.add_argument("--keep", type=Path, default=Path("build/campaign"), help="where folders of faults stay")
    chosen = parser.parse_args()
    preload()
    ended: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary, "base")
        base.mkdir()
        if in_child(lambda: shop.build(base)) != 0:
            print("the shop could not be built")
            return 1
        families = [chosen.family] if chosen.family else list(FAMILIES)
        for family in families:
            deadline = time.monotonic() + chosen.seconds / len(families)
            number = chosen.start if chosen.only is None else chosen.only
            ended[family] = Counter()
            while time.monotonic() < deadline:
                folder = Path(temporary, "trial")
                arguments, outcome = one_trial(family, number, base=base, folder=folder)
                ended[family][outcome.kind] += 1
                if outcome.kind in FAULTS or chosen.only is not None:
                    print(
                        f"{family} {number}: {outcome.kind}: clickscape {' '.join(arguments)}: {outcome.detail}",
                        flush=True,
                    )
                    kept = chosen.keep / f"{family.replace(' ', '-')}-{number}"
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(folder, kept, symlinks=True, ignore=_special)
                shutil.rmtree(folder)
                number += 1
                if chosen.only is not None:
                    break
    print(f"\n{'family':<16} {'inputs':>7} {'worked':>7} {'refused':>8} {'traceback':>10} {'wrong':>6} {'hung':>5}")
    for family, kinds in [*ended.items(), ("all", sum(ended.values(), Counter()))]:
        print(
            f"{family:<16} {kinds.total():>7} {kinds['worked']:>7} {kinds['refused']:>8} {kinds['traceback']:>10} "
            f"{kinds['wrong']:>6} {kinds['hung']:>5}"
        )
    return int(any(kinds[fault] for kinds in ended.values() for fault in FAULTS))


def _special(folder: str, names: list[str]) -> list[str]:
    """Entries that cannot be copied: FIFOs and the like."""
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


if __name__ == "__main__":
    sys.exit(main())
