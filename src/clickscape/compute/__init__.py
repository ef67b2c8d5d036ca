"""Threads, devices and processes, learning-rate schedules, and checks of weights that come from elsewhere."""

from __future__ import annotations

from clickscape.compute.device import set_threads, threads
from clickscape.compute.shards import map_shards

__all__ = ["map_shards", "set_threads", "threads"]
