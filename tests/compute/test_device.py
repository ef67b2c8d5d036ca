"""Thread counts hold for a block and come back."""

from __future__ import annotations

import os

import cv2
import pytest

from clickscape.compute import set_threads, threads


def test_threads_hold_for_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = cv2.getNumThreads()
    with threads(1):
        assert cv2.getNumThreads() == 1
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert cv2.getNumThreads() == before
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        set_threads(0)
