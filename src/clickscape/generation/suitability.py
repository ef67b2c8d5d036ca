"""How much a scene promises for a product of which no click is known: does it suit, and does it photograph well?

    log p(scene | department) − log p(scene) + log P(an ad that shows it can be published)

The first difference, of the setting, is what the shipped model learned (`department_fit`); the last, over setting,
props, light and surface, comes from graded pictures. What a photographer would not put together loses (`set_rules`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from clickscape.catalog.departments import department_of
from clickscape.generation.department_fit import DepartmentFit
from clickscape.generation.set_rules import Subject, breaches
from clickscape.render.language.graded import log_publishable
from clickscape.render.scene import NO_PROP, Scene
from clickscape.render.silhouette import Silhouette
from clickscape.types import Product

BREACH = 3.0  # nats that each slot costs that breaks a rule
_SURE = 0.5  # probability from which a department that nobody named counts as known


def suitability(subject: Subject, scenes: Sequence[Scene], *, fit: DepartmentFit) -> Float64[np.ndarray, " scene"]:
    """Return how much each scene promises for the subject, nats: only differences within a product mean something."""
    departments = fit.likely(scenes, department=subject.department)
    return np.array([_promise(scene, departments, subject=subject, fit=fit) for scene in scenes])


def subject_of(
    product: Product, written: Sequence[Scene], *, fit: DepartmentFit, outline: Silhouette | None = None
) -> Subject:
    """Return the product as the rules see it; of what department nobody says, the scenes written for it tell."""
    department = department_of(product)
    if not department:
        likely = fit.likely(written)
        best = int(likely.argmax())
        department = list(fit.counts)[best] if likely[best] >= _SURE else ""
    return Subject(product, department, outline)


def _promise(
    scene: Scene, departments: Float64[np.ndarray, " department"], *, subject: Subject, fit: DepartmentFit
) -> float:
    setting = float(departments @ fit.lift(scene, "setting"))
    published = sum(log_publishable("prop", prop) for prop in scene.props or (NO_PROP,))
    published += sum(log_publishable(slot, str(scene.slots[slot])) for slot in ("setting", "light", "surface"))
    return setting + published - BREACH * len(breaches(scene, subject))
