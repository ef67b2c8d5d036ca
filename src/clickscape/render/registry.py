"""The renderers there are: a plain dict from name to loader, each of which imports what it needs when it is asked."""

from __future__ import annotations

from collections.abc import Callable

from clickscape.config import Settings
from clickscape.errors import ConfigError
from clickscape.render.renderer import Renderer


def _studio(settings: Settings) -> Renderer:  # noqa: ARG001  (has no settings)
    from clickscape.render.studio import disk
    from clickscape.render.studio.engine import StudioRenderer

    return StudioRenderer(kept=disk.folder())


def _diffusion(settings: Settings) -> Renderer:
    try:
        import diffusers  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(
            "the renderer 'diffusion' needs the package diffusers, which is not installed. "
            "Install it with: pip install 'clickscape[diffusion]'"
        ) from None
    from clickscape.render.diffusion.engine import DiffusionRenderer

    return DiffusionRenderer(settings.diffusion)


def _photo(settings: Settings) -> Renderer:  # noqa: ARG001  (has no settings)
    from clickscape.render.own_backdrop import PhotoRenderer

    return PhotoRenderer()


RENDERERS: dict[str, Callable[[Settings], Renderer]] = {"studio": _studio, "diffusion": _diffusion, "photo": _photo}


def load(name: str = "studio", *, settings: Settings | None = None) -> Renderer:
    """The renderer of that name, with empty caches; it reads its own section of `settings` (None: the defaults).

    ConfigError names the renderers there are, or the line that installs what is missing.
    """
    if name not in RENDERERS:
        raise ConfigError(f"unknown renderer {name!r}; expected one of: {', '.join(RENDERERS)}")
    return RENDERERS[name](settings or Settings())
