"""A command that has nothing to work on, or made nothing, says so with exit code 2 and names what comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.factory import clickscape, shop_of_tins

from clickscape.types import Creative
from clickscape.workspace import Workspace


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with one product and nothing else."""
    return shop_of_tins(tmp_path / "shop", {"A": (200, 30, 30)})


def draft(status: str = "draft") -> Creative:
    """A creative of the product."""
    return Creative("A-1", "A", "a.png", "oak table", {}, "studio", "tiny", 0, status=status)  # type: ignore[arg-type]


FIRST = {
    "review": (["review", "shop"], "clickscape generate shop"),
    "review --approve-all": (["review", "shop", "--approve-all"], "clickscape generate shop"),
    "refresh": (["refresh", "shop"], "clickscape generate shop"),
    "export": (["export", "shop", "--placement", "meta-feed"], "clickscape generate shop"),
    "pretrain": (["pretrain", "shop"], "clickscape generate shop"),
    "reward": (["reward", "shop"], "clickscape clicks shop"),
    "optimize": (["optimize", "shop"], "clickscape reward shop"),
    "explain": (["explain", "shop", "--elements"], "clickscape clicks shop"),
    "report": (["report", "shop"], "clickscape clicks shop"),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_command_without_its_input_names_the_one_that_makes_it(shop: Workspace, case: str) -> None:
    arguments, first = FIRST[case]
    done = clickscape(*arguments, cwd=shop.path.parent)
    assert done.code == 2
    assert f"Run `{first}` first" in done.err
    assert "made " not in done.out


def test_what_a_command_says_it_made_is_there(shop: Workspace) -> None:
    shop.write_creatives([draft()])
    for arguments in (["review", "shop"], ["review", "shop", "--approve-all"], ["refresh", "shop"]):
        done = clickscape(*arguments, cwd=shop.path.parent)
        (made,) = [line.removeprefix("made ") for line in done.out.splitlines() if line.startswith("made ")]
        assert (shop.path.parent / made).exists()
    assert "no creative is stale" in done.out


def test_a_generation_without_an_image_is_a_failure(shop: Workspace) -> None:
    rules = "[generate]\nsize = 64\nper_product = 1\nkeep = 1\ntries = 1\nrewrites = 0\n[fidelity]\nextent = 1.0\n"
    shop.settings_path.write_text(rules)
    done = clickscape("generate", "shop", "--out", "ads", cwd=shop.path.parent)
    assert done.code == 2
    assert "no image was made" in done.err
    assert "every one through" not in done.out
    assert "no picture passed" in done.out
    assert "made " not in done.out


def test_an_export_without_a_file_is_a_failure(shop: Workspace) -> None:
    shop.write_creatives([draft("rejected")])
    done = clickscape("export", "shop", "--placement", "meta-feed", cwd=shop.path.parent)
    assert done.code == 2
    assert "no file was exported" in done.err
    assert "left out, rejected: 1" in done.out
    assert "made " not in done.out


def test_an_export_refuses_a_font_before_it_draws(shop: Workspace) -> None:
    shop.write_creatives([draft()])
    arguments = ["export", "shop", "--placement", "meta-feed", "--tagline", "New", "--font"]
    done = clickscape(*arguments, "gone.ttf", cwd=shop.path.parent)
    assert done.code == 2
    assert "gone.ttf: no such file. Correct the path of --font." in done.err
    assert "export:" not in done.err, "nothing was begun"
