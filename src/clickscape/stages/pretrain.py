"""Stage `pretrain`: the four instruction tasks on a workspace's own products and creatives, from `tiny` on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from PIL import Image

from clickscape import vlm
from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.catalog.images import open_image
from clickscape.config import PretrainConfig
from clickscape.errors import WorkspaceError
from clickscape.files import atomic_folder
from clickscape.render.scene import SLOTS, slots_of
from clickscape.stages import split
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm import slots
from clickscape.vlm.pretrain import projector_scale, train_jointly
from clickscape.vlm.prompts import MAX_ATTRIBUTES
from clickscape.workspace import Manifest, Workspace

STAGE = "pretrain"


def pretrain(workspace: Workspace, config: PretrainConfig) -> Stage[Manifest]:
    """Joint training of `joint_steps` on the training products' creatives; writes models/pretrained.

    A killed run goes on from its last checkpoint; a finished one with the same settings and creatives is reused.
    """
    inputs = {"products": workspace.products_path, "creatives": workspace.creatives_path}
    if done := workspace.finished(STAGE, config, inputs):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, config, inputs) as run:
        writer = vlm.load("tiny")
        yield Progress(STAGE, 0, config.joint_steps, "looking at creatives")
        products = workspace.products()
        learned = split.read(workspace, products).training(products)
        corpus = WorkspaceCorpus(learned, workspace.creatives(), size=writer.vlm.image_size)
        before = projector_scale(writer.vlm)
        losses: list[float] = []
        for step in train_jointly(writer.vlm, corpus, config=config, checkpoint=run.folder / "joint.safetensors"):
            losses.append(step.loss)
            run.log(asdict(step))
            yield Progress(STAGE, step.number, step.total, f"loss {step.loss:.3f}")
        target = workspace.models / "pretrained"
        named = slots.read(vlm_model.TINY_FOLDER)
        with atomic_folder(target) as waiting:
            vlm_model.write(writer.vlm, waiting)
            if named is not None:
                named.rescaled(projector_scale(writer.vlm) / before).write(waiting)
        return run.finish(outputs=[target], result={"loss": float(np.mean(losses[-20:]))})


class WorkspaceCorpus:
    """What a shop's own creatives teach: each product with the descriptions that were written for it."""

    def __init__(self, products: Sequence[Product], creatives: Sequence[Creative], *, size: int) -> None:
        by_id = {product.product_id: product for product in products}
        own = [creative for creative in creatives if creative.product_id in by_id and creative.description.strip()]
        if not own:
            raise WorkspaceError(
                "no creative of a training product has a description. Add some, or use the model as is."
            )
        self._descriptions: dict[str, list[str]] = {}
        for creative in own:
            self._descriptions.setdefault(creative.product_id, []).append(creative.description)
        described = [product for product in products if product.product_id in self._descriptions]
        self.products: Sequence[Product] = described
        self.pictures = np.stack([product_picture(open_cutout(product.image), size=size) for product in described])
        self.ads = np.stack([_picture(creative, size) for creative in own])
        self.ad_products: Sequence[Product] = [by_id[creative.product_id] for creative in own]
        nothing: dict[str, str | None] = dict.fromkeys(SLOTS)
        self.ad_slots: Sequence[Mapping[str, str | None]] = [slots_of(creative) or nothing for creative in own]
        self.slots: Mapping[str, tuple[str, ...]] = SLOTS
        self._captions = [creative.description for creative in own]

    def describe(self, product: Product, rng: np.random.Generator, *, plain: bool = False) -> str:  # noqa: ARG002
        """One of the descriptions that were written for the product; a shop has no plainer ones."""
        own = self._descriptions[product.product_id]
        return own[int(rng.integers(len(own)))]

    def caption_ad(self, ad: int, rng: np.random.Generator) -> str:  # noqa: ARG002
        """The ad's own description, after its product's finest category or title."""
        product = self.ad_products[ad]
        return f"{(product.category or (product.title,))[-1].lower()}, {self._captions[ad]}"

    def caption_product(self, product: Product, rng: np.random.Generator) -> str:  # noqa: ARG002
        """The product's title and the attributes that instructions show as well."""
        return ", ".join([product.title, *list(product.attributes.values())[:MAX_ATTRIBUTES]]).lower()

    def invent(self, rng: np.random.Generator) -> Product:
        """A product of the catalog, to be described without its picture."""
        return self.products[int(rng.integers(len(self.products)))]

    def rough(self, description: str, rng: np.random.Generator) -> str:
        """The description's phrases, shuffled."""
        phrases = [phrase.strip() for phrase in description.split(",")]
        return " ".join(phrases[int(place)] for place in rng.permutation(len(phrases)))


def _picture(creative: Creative, size: int) -> np.ndarray:
    image = Image.fromarray(open_image(creative.image)[..., :3])
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
