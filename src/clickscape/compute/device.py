"""What a process computes on: its threads, its device, and the other processes that a launcher started beside it.

Threads: one each is fastest when processes share the cores.  Processes: `torchrun` starts them and Accelerate lets them
meet (gloo between CPUs, NCCL between GPUs); here is the little that training needs of that, and nothing else knows how.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clickscape.errors import LaunchError, first_line
from clickscape.files import atomic_folder

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def set_threads(count: int) -> None:
    """Give torch and OpenCV `count` threads each, whether they are imported already or later (also by children)."""
    if count < 1:
        raise ValueError(f"a library needs at least one thread, got {count}")
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(count)


@contextmanager
def thread_environment(count: int) -> Iterator[None]:
    """Let processes that start inside the block take `count` threads; this process keeps its own."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one launch that do the same work: this one's number, how many there are, and its torch device.

    Every process must call `gather`, `broadcast` and `all_reduce` equally often and in the same order; LaunchError when
    another one has ended meanwhile.
    """

    number: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files, prints and shows progress."""
        return self.number == 0

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """The items that fall to this process: every `count`-th."""
        return items[self.number :: self.count]

    def even_share(self, items: Sequence[Value]) -> tuple[Sequence[Value], int]:
        """As `share`, then filled up with any item until all processes have equally many; and how many are its own."""
        own = self.share(items)
        missing = -(-len(items) // self.count) - len(own)
        return [*own, *items[:missing]], len(own)

    def gather(self, share: Sequence[Value]) -> list[Value]:
        """What all processes made of their shares, in the order of the items that were shared out."""
        if self.count == 1:
            return list(share)
        from accelerate.utils import gather_object

        with peers():
            pairs = gather_object([(place * self.count + self.number, item) for place, item in enumerate(share)])
        return [item for _, item in sorted(pairs, key=lambda pair: pair[0])]

    def broadcast(self, value: Value) -> Value:
        """What the leading process passes here; what the others pass is ignored. Nobody goes on before it has come."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        box = [value]
        with peers():
            broadcast_object_list(box)
        return box[0]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes in the place of every tensor: one exchange for all of them."""
        if self.count == 1 or not tensors:
            return
        import torch
        from accelerate.utils import reduce

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with peers():
            flat = reduce(flat, reduction="sum")
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextmanager
    def atomic_folder(self, target: Path) -> Iterator[Path]:
        """As `files.atomic_folder`, for a folder that all processes write into; it appears when all are done."""
        with atomic_folder(target) if self.is_main else nullcontext() as waiting:
            shared = self.broadcast(waiting)
            assert shared is not None
            yield shared
            self.gather([None])  # all have written
        self.broadcast(None)  # and it is there


ALONE = Processes()
"""One process on the CPU: what a library call means unless it is told otherwise."""


def best_device() -> str:
    """The torch device that stages compute on: "cuda" where there is a GPU, else "cpu".

    The environment variable ACCELERATE_USE_CPU=true leaves the GPU alone.
    """
    import torch

    insists = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return "cpu" if insists or not torch.cuda.is_available() else "cuda"


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes of this launch (this one alone, if no launcher started it), for the length of a block.

    LaunchError when they are fewer than the launcher was asked for, or more than there are GPUs for.
    """
    import torch

    device = best_device()
    on_cpu = device == "cpu"
    asked = _asked()
    if asked == 1:
        yield Processes(device=device)
        return
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not on_cpu and local > torch.cuda.device_count():
        raise LaunchError(
            f"{local} processes on this machine, but {torch.cuda.device_count()} GPUs; each needs its own. Launch "
            "fewer, or set ACCELERATE_USE_CPU=true."
        )
    from accelerate import PartialState

    with peers():
        state = PartialState(cpu=on_cpu)
    if state.num_processes != asked:
        raise LaunchError(f"{asked} processes were asked for, but {state.num_processes} met. {_REMEDY}")
    try:
        yield Processes(state.process_index, state.num_processes, str(state.device))
    finally:
        state.destroy_process_group()


_REMEDY = "Launch with `torchrun --nproc_per_node N -m clickscape …`."


def _asked() -> int:
    """How many processes the launcher was asked for."""
    if said := os.environ.get("WORLD_SIZE"):
        if not said.isdecimal() or int(said) < 1:
            raise LaunchError(f"WORLD_SIZE is {said!r}, not a number of processes. {_REMEDY}")
        return int(said)
    # `accelerate launch --cpu --num_processes N` prepares a meeting of N, then starts one that is not told the number.
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ:
        raise LaunchError(f"accelerate was asked for several processes and started one. {_REMEDY}")
    return 1


@contextmanager
def peers() -> Iterator[None]:
    """LaunchError for a lost connection: another process is gone; what it died of, it has said itself."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise LaunchError(
            f"another process of this launch ended or cannot be reached ({first_line(error)}). Look at what it said; "
            "the same command goes on from the last checkpoint."
        ) from None
