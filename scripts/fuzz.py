"""Drive the tests of `tests/hostile/test_readers.py` with coverage-guided bytes: `make fuzz`.

Needs `pip install 'clickscape[fuzz]'`. What is found is written to `build/fuzz/`; `--again FILE`
shows it again. Exit code 0 when the time passed without a fault.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

with atheris.instrument_imports(include=["clickscape"]):
    from tests.hostile import test_readers

TARGETS = {
    "feed": test_readers.test_a_damaged_feed_is_read_or_refused,
    "log": test_readers.test_a_damaged_click_log_is_read_or_refused,
    "settings": test_readers.test_damaged_settings_are_read_or_refused,
    "photo": test_readers.test_a_damaged_photo_is_read_or_refused,
    "manifest": test_readers.test_a_manifest_with_any_value_is_read_or_counts_for_nothing,
}


_LEAVE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(lambda status, _: os._exit(status))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600, help="how long to look")
    parser.add_argument("--again", type=Path, help="file of a fault that was found")
    chosen = parser.parse_args()
    found = Path("build/fuzz")
    found.mkdir(parents=True, exist_ok=True)
    corpus = found / f"{chosen.target}-corpus"
    corpus.mkdir(exist_ok=True)
    for number in range(32):  # hypothesis takes a few hundred bytes an input, which a fuzzer does not grow by itself
        (corpus / f"seed-{number}").write_bytes(Random(number).randbytes(2_048))
    arguments = [
        sys.argv[0],
        f"-max_total_time={chosen.seconds}",
        "-max_len=4096",
        "-len_control=0",
        f"-artifact_prefix={found}/{chosen.target}-",
    ]
    atheris.Setup([*arguments, str(chosen.again or corpus)], TARGETS[chosen.target].hypothesis.fuzz_one_input)
    # What atheris instruments keeps its frames, and with them DuckDB's threads, which exit() does not wait for: the
    # cleaning up of libraries under them is what crashed, after "Done". Faults end the process without exit().
    ctypes.CDLL(None).on_exit(_LEAVE, None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
