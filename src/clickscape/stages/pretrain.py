"""Stage `pretrain`: the four instruction tasks on a workspace's own products and creatives, from `tiny` on."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from clickscape import vlm
from clickscape.config import PretrainConfig
from clickscape.files import atomic_folder
from clickscape.render.scene import SLOTS, slots_of
from clickscape.stages import cards, split
from clickscape.stages.progress import Progress, Stage
from clickscape.vlm import model as vlm_model
from clickscape.vlm import slots
from clickscape.vlm.creative_corpus import CreativeCorpus
from clickscape.vlm.pretrain import projector_scale, train_jointly
from clickscape.vlm.shipped import TINY_FOLDER
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
        size = writer.vlm.image_size
        corpus = CreativeCorpus(learned, workspace.creatives(), size=size, slots=SLOTS, slots_of=slots_of)
        before = projector_scale(writer.vlm)
        losses: list[float] = []
        for step in train_jointly(writer.vlm, corpus, config=config, checkpoint=run.folder / "joint.safetensors"):
            losses.append(step.loss)
            run.log(asdict(step))
            yield Progress(STAGE, step.number, step.total, f"loss {step.loss:.3f}")
        target = workspace.models / "pretrained"
        named = slots.read(TINY_FOLDER)
        with atomic_folder(target) as waiting:
            vlm_model.save_into(writer.vlm, waiting)
            if named is not None:
                named.rescaled(projector_scale(writer.vlm) / before).write(waiting)
        cards.pretrained(target, steps=config.joint_steps, loss=float(np.mean(losses[-20:])))
        return run.finish(outputs=[target], result={"loss": float(np.mean(losses[-20:]))})
