"""How much a scene promises for a product of which no click is known: does it suit, and does it photograph well?

    log p(scene | department) − log p(scene) + log P(an ad that shows it can be published)

The first difference, of the setting, is what the shipped model learned (`department_fit`); the last, over setting,
props, light and surface, comes from graded pictures. No prop is the default: one that the department does not make
likelier has no reason to be there, and how much likelier counts no further. Without a reason a scene loses, and so does
one with a light or ground that its setting does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from clickscape.catalog.departments import department_of
from clickscape.generation.department_fit import DepartmentFit
from clickscape.render.language.graded import SETTINGS_OF, log_publishable
from clickscape.render.scene import NO_PROP, Scene
from clickscape.types import Product

REASON = 0.3  # nats that a department must add to a prop's log-probability
_WITHOUT_REASON, _OUT_OF_PLACE = 3.0, 3.0  # nats


def suitability(
    product: Product, scenes: Sequence[Scene], *, fit: DepartmentFit, written: Sequence[Scene] | None = None
) -> Float64[np.ndarray, " scene"]:
    """Return how much each scene promises for the product, nats: only differences within a product mean something.

    `written`: all scenes that the model wrote for it, by default `scenes`; of a product whose department nobody knows
    they tell where the model would put it.
    """
    departments = fit.likely(scenes if written is None else written, department=department_of(product))
    return np.array([_promise(scene, departments, fit=fit) for scene in scenes])


def _promise(scene: Scene, departments: Float64[np.ndarray, " department"], *, fit: DepartmentFit) -> float:
    setting = float(departments @ fit.lift(scene, "setting"))
    props = float(departments @ fit.lift(scene, "prop"))
    published = sum(log_publishable("prop", prop) for prop in scene.props or (NO_PROP,))
    published += sum(log_publishable(slot, str(scene.slots[slot])) for slot in ("setting", "light", "surface"))
    value = setting + published
    if scene.props and props < REASON:
        value -= _WITHOUT_REASON
    for slot, places in SETTINGS_OF.items():
        if scene.setting not in places.get(str(scene.slots[slot]), {scene.setting}):
            value -= _OUT_OF_PLACE
    return value
