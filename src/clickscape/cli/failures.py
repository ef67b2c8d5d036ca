"""One line for what no room explains: a full disk, a folder that may not be written, too little memory, a fault."""

from __future__ import annotations

import errno
import os

_REMEDIES = {
    errno.ENOSPC: "Free some space and run the command again.",
    errno.EDQUOT: "Free some of your quota and run the command again.",
    errno.EFBIG: "Raise the limit of file sizes (`ulimit -f unlimited`) and run the command again.",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n 4096`) and run the command again.",
    errno.EACCES: "Change its permissions, or name another place.",
    errno.EPERM: "Change its permissions, or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.ENOENT: "Check the path.",
    errno.ENAMETOOLONG: "Name a shorter path.",
    errno.ENOMEM: "Close other programs, or use a machine with more memory.",
}
FAULT = "This may be a fault of clickscape: --debug shows where."


def describe(error: BaseException) -> str:
    """Return what happened and what to do, as text without line breaks of its own."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}. {_REMEDIES.get(error.errno, 'Check the path, and the disk.')}"
    if isinstance(error, MemoryError):
        return f"out of memory. {_REMEDIES[errno.ENOMEM]}"
    if isinstance(error, UnicodeEncodeError):
        before = error.object[max(error.start - 40, 0) : error.start]
        odd = f"{'...' if error.start > 40 else ''}{before}{error.object[error.start : error.end + 40]}"
        return f"{odd!r} is not valid Unicode. Rename it, or write it in another way."
    whole = str(error)
    if number := next((number for number in _REMEDIES if os.strerror(number) in whole), None):  # libraries in Rust, C++
        return f"{os.strerror(number)}. {_REMEDIES[number]}"
    said = (whole.strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}{': ' if said else ''}{said}. {FAULT}"
