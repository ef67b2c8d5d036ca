"""Weights, gradients and averages split over the processes of a launch: torch's FSDP2 (`fully_shard`).

A layer gathers its weights while it computes, and each process keeps a part of them, of the gradient and of what the
optimizer knows. What lies in no layer (embeddings, output layer, projector, norms) is one group, gathered for a whole
pass: parts of these models are called on their own, and embeddings may be tied. Gradients are summed, not averaged.

Two rules follow (decision 0071). Processes gather together, so all run equally many passes with gradient: see
`Processes.even_share`. What records no gradient runs within `gathered`, where nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from clickscape.compute.device import Processes, peers


def shard(model: nn.Module, *, processes: Processes) -> None:
    """Split a language model's weights, in place; what learns must be decided before. One process splits nothing."""
    if processes.count == 1:
        return
    mesh = init_device_mesh(torch.device(processes.device).type, (processes.count,))
    exact_sums = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    stacks = [
        [layer for layer in part if isinstance(layer, GradientCheckpointingLayer)]
        for part in model.modules()
        if isinstance(part, nn.ModuleList)
    ]
    for layer in (layer for layers in stacks for layer in layers):
        fully_shard(layer, mesh=mesh, mp_policy=exact_sums)
    fully_shard(model, mesh=mesh, mp_policy=exact_sums)
    for part in _parts(model):
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    # Said here, because what it guesses follows the passes before, and those differ between processes.
    for layers in stacks:
        for before, layer in pairwise([model, *layers]):
            cast("FSDPModule", layer).set_modules_to_backward_prefetch([cast("FSDPModule", before)])
    with gathered(model), torch.no_grad():  # the parts find out whose parts they are when the whole is called
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=processes.device))


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has split this model."""
    return isinstance(model, FSDPModule)


@contextmanager
def passes(model: nn.Module) -> Iterator[None]:
    """LaunchError where another process ends while this one waits for its weights or gradients in the block."""
    try:
        yield
    except RuntimeError as error:
        if is_sharded(model) and any(word in str(error) for word in ("gloo", "NCCL")):
            with peers():
                raise
        raise


def begin_pass(model: nn.Module) -> None:
    """Gather what lies in no layer, before a pass with gradient; the backward pass lets go of it again."""
    if isinstance(model, FSDPModule):
        with peers():
            model.unshard()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Hold all weights whole within the block, so that passes without gradient need no other process.

    All processes enter it together; it does not nest. Nothing for a model that is not split.
    """
    parts = _parts(model)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        with peers():
            part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(cast("nn.Module", part) is not model, recurse=False)
            part.reshard()


def whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Return tensors whole of which some may be split, each by its own on the way; those come to the CPU.

    All processes call it together; where not `keep`, nothing is returned. Equal objects stay equal.
    """
    made: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) in made:
            continue
        if isinstance(tensor, DTensor):
            with peers(), torch.no_grad():
                full = tensor.full_tensor()
            made[id(tensor)] = full.cpu() if keep else full.new_empty(0)
        else:
            made[id(tensor)] = tensor.detach()
    return {name: made[id(tensor)] for name, tensor in tensors.items()} if keep else {}


def is_split(tensor: Tensor) -> bool:
    """Whether processes hold different rows of this tensor."""
    return isinstance(tensor, DTensor)


def own_rows(tensor: Tensor) -> Tensor:
    """Return this process's rows of a tensor, sharing its memory: all of them unless it is split."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _parts(model: nn.Module) -> list[FSDPModule]:
    return [part for part in model.modules() if isinstance(part, FSDPModule)]
