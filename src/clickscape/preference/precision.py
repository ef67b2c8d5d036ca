"""A policy's device and number format, and gradient checkpointing of its layers.

In bfloat16 all weights of the model are in 16 bits, an adapter's stay in 32; log-probabilities are summed in 32 bits
either way.  Policy and reference are rounded alike, or every Δ would begin away from zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from clickscape.config import OptimizeConfig
from clickscape.preference import adapter
from clickscape.vlm.model import VisionLanguageModel


def to_device_and_dtype(vlm: VisionLanguageModel, *, config: OptimizeConfig, device: str) -> VisionLanguageModel:
    """Move a model to its device and number format, in place, and return it; buffers stay (positions need 32)."""
    low = config.dtype == "bfloat16" or (config.dtype == "auto" and device.startswith("cuda"))
    for name, weight in vlm.model.named_parameters():
        if low and not adapter.is_adapter(name):
            weight.data = weight.data.bfloat16()  # before the move: no GPU has to hold twice as much
    vlm.model.to(device)
    return vlm


@contextmanager
def gradient_checkpointing(vlm: VisionLanguageModel) -> Iterator[None]:
    """Checkpoint gradients within the block: layers keep their input alone and are computed again on the way back.

    Key/value caches do not work in it. Only the layers themselves are told that they train: dropout stays off.
    """
    layers = [part for part in vlm.core.modules() if isinstance(part, GradientCheckpointingLayer)]
    for layer in layers:
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.gradient_checkpointing = layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False
