"""What can go wrong with a user's data, one class per source, so that a caller can catch exactly what it can fix.

Every message says what came, what was expected and what to do; the command line prints it as one line and exits with 2.
"""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return text with line breaks, control characters and lone surrogates escaped: one line that no terminal obeys."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else ascii(letter)[1:-1]
        for letter in text
    )


class ClickscapeError(Exception):
    """Base of every error that the user can fix; its text is one line, whatever the data that it quotes holds."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(ClickscapeError):
    """A setting in clickscape.toml or on the command line is unknown or out of range."""


class ExperimentError(ClickscapeError):
    """An experiment's plan cannot answer, or its traffic does not allow the reading that was asked for."""


class FeedError(ClickscapeError):
    """A product feed, or one row of it, cannot be read."""


class ImageError(ClickscapeError):
    """An image is missing, unreadable, too large, or has no product that can be cut out."""


class LaunchError(ClickscapeError):
    """The processes of a launch are not those that were asked for, or one of them ended."""


class LogError(ClickscapeError):
    """A click log contradicts itself or the creatives."""


class ModelError(ClickscapeError):
    """A checkpoint folder is missing, incomplete or of another kind."""


class PreferenceError(ClickscapeError):
    """Preference optimization cannot start or go on: the catalog, the pairs or the folder do not allow it."""


class RenderError(ClickscapeError):
    """A renderer cannot draw a picture, or drew one that it may not hand out."""


class SceneError(ClickscapeError):
    """A scene names a value that the renderer does not have."""


class StoreError(ClickscapeError):
    """The service's store cannot be opened, or is of another release."""


class TextError(ClickscapeError):
    """Words cannot be set over a picture: a glyph is missing, no place has room or contrast, or text is forbidden."""


class WorkspaceError(ClickscapeError):
    """A workspace folder is missing, damaged, or lacks what a stage needs."""


class DeprecatedWarning(FutureWarning):
    """A name, value or file of the release before is read once more; the next release reads only the new one."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error of another library, at most 200 characters, or its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
