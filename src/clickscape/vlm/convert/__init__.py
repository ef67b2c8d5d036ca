"""Checkpoints that others wrote, in the layout of other code → Hugging Face folders that plain `transformers` opens."""

from __future__ import annotations
