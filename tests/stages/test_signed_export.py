"""Exports signed with the user's certificate, and `inspect`, which reads them back: on the command line."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.certificates import NOW, Signer, make_signer
from tests.factory import Done, clickscape, copy_of, shop_of_tins

from clickscape.config.c2pa import C2paConfig
from clickscape.files import photo_file
from clickscape.render import placements
from clickscape.render.c2pa_reading import verify
from clickscape.render.c2pa_signing import Claim, open_signing, sign
from clickscape.render.containers import open_container
from clickscape.types import Creative
from clickscape.workspace import Workspace

PLACE = "google-display-200x200"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


def name_signer(shop: Workspace, config: C2paConfig) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.model_dump().items()]
    shop.settings_path.write_text("\n".join(["[c2pa]", *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A folder with the workspace `my-shop` of two creatives, its signed `exports`, and `keys` beside them."""
    folder = tmp_path_factory.mktemp("signed")
    shop = shop_of_tins(folder / "my-shop", {"A": (200, 30, 30), "B": (30, 60, 200)})
    made = {"description": "oak table, soft light", "scene": {}, "renderer": "studio", "model_id": "tiny"}
    images = {f"{name} 1": str(shop.image_path(f"{name} 1")) for name in "AB"}
    shop.write_creatives(
        [Creative(name, name[0], image, seed=7, status="approved", **made) for name, image in images.items()]
    )
    name_signer(shop, signer.save(folder / "keys"))
    done = export(folder)
    assert done.code == 0, done.err
    assert "2 files signed by Tin Shop, Tin Shop ads" in done.out
    return folder


def export(folder: Path, *options: str) -> Done:
    return clickscape("export", "my-shop", "--placement", PLACE, "--out", "exports", *options, cwd=folder)


def copied(signed: Path, folder: Path) -> Workspace:
    return copy_of(Workspace.open(signed / "my-shop"), folder / "my-shop")


def test_every_exported_file_is_signed_labeled_and_within_its_bytes(signed: Path, signer: Signer) -> None:
    told = json.loads((signed / "exports/manifest.json").read_text(encoding="utf-8"))
    (place,) = placements.find(PLACE)
    assert [one["signer"] for one in told["renditions"]] == ["Tin Shop, Tin Shop ads"] * 2
    for one in told["renditions"]:
        data = (signed / "exports" / one["file"]).read_bytes()
        assert len(data) == one["bytes"] <= place.max_bytes
        found = verify(data, anchors=signer.root.decode())
        assert found is not None
        assert (found.state, found.trust) == ("valid", "trusted")
        assert found.ingredients[0].startswith(f"photo of product {one['product_id']} (componentOf, sha256:")
    everything = [path.read_bytes() for path in signed.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert not any(signer.key_pem().splitlines()[1] in data for data in everything), "the key stays where it is"


def test_what_is_signed_is_not_signed_again_and_another_signer_signs_anew(
    signed: Path, signer: Signer, tmp_path: Path
) -> None:
    shop = copied(signed, tmp_path)
    assert "2 files in exports, 2 of them drawn now" in export(tmp_path).out
    first = {path.name: path.read_bytes() for path in (tmp_path / "exports" / PLACE).iterdir()}
    assert "2 files in exports, 0 of them drawn now" in export(tmp_path).out
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "exports" / PLACE).iterdir()}
    name_signer(shop, make_signer("Other Shop").save(tmp_path / "others"))
    assert "2 files signed by Other Shop, Other Shop ads" in export(tmp_path).out
    shop.settings_path.write_text("", encoding="utf-8")
    done = export(tmp_path)
    assert "2 files in exports, 2 of them drawn now" in done.out
    assert "signed" not in done.out
    assert all(verify(path.read_bytes()) is None for path in (tmp_path / "exports" / PLACE).iterdir())


def lose_key(keys: Path) -> None:
    (keys / "key.pem").unlink()


def swap_key(keys: Path) -> None:
    (keys / "key.pem").write_bytes(make_signer().key_pem())


def expire(keys: Path) -> None:
    make_signer(days=(-9, -2)).save(keys)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lose_key, r"c2pa\.private_key: .*key\.pem: no such file"),
        (swap_key, r"c2pa\.private_key is not the key of c2pa\.certificate"),
        (expire, r"c2pa\.certificate is valid from .* to .*, not now"),
    ],
)
def test_a_signer_that_will_not_do_stops_the_export_before_it_begins(
    spoil: Callable[[Path], None], problem: str, signed: Path, signer: Signer, tmp_path: Path
) -> None:
    name_signer(copied(signed, tmp_path), signer.save(tmp_path / "keys"))
    spoil(tmp_path / "keys")
    done = export(tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert re.match(f"clickscape: {problem}", line)
    assert not (tmp_path / "exports").exists()


def test_a_manifest_for_which_a_placement_has_no_bytes_is_told(signed: Path, tmp_path: Path) -> None:
    """A photo's own manifest comes along; here its claim has a title of 200 kB."""

    shop = copied(signed, tmp_path)
    config = make_signer("Photographer").save(tmp_path / "photographer")
    photographer = open_signing(config, folder=shop.path, now=NOW)
    assert photographer is not None
    cutout = shop.cutout_path("A")
    claim = Claim("x" * 200_000, "compositeSynthetic", "", cutout.read_bytes())
    photo_file(cutout).write_bytes(sign(cutout.read_bytes(), claim, photographer))
    done = export(tmp_path)
    assert done.code == 2
    told = rf"not made: creative 'A 1' at {PLACE}: its label and manifest take [\d,]+ bytes of 150,000\."
    assert re.search(told, done.out)
    assert [path.name for path in (tmp_path / "exports").rglob("*.jpg")] in ([], ["B 1.jpg"])


def test_inspect_says_who_signed_and_what_was_changed(signed: Path, signer: Signer, tmp_path: Path) -> None:
    original = signed / "exports" / PLACE / "A 1.jpg"
    data = original.read_bytes()
    root, other = signed / "keys/root.pem", tmp_path / "other.pem"
    other.write_bytes(make_signer().root)

    done = clickscape("inspect", original)
    assert done.code == 0, done.err
    first, *lines = done.out.splitlines()
    assert first == f"{original}: JPEG, unaltered"
    assert "  signature    valid: the file is as Tin Shop, Tin Shop ads signed it" in lines
    assert "  actions      c2pa.created (compositeSynthetic), c2pa.placed" in lines
    assert any(line.startswith("  signer       not checked: anybody can make a certificate") for line in lines)
    for anchors, code, said in ((root, 0, "trusted: an issuer"), (other, 1, "NOT TRUSTED: no issuer")):
        done = clickscape("inspect", original, "--trust", anchors)
        assert (done.code, f"  signer       {said}" in done.out) == (code, True)

    def inspected(changed: bytes, *options: str | Path) -> tuple[int, list[str]]:
        (tmp_path / "changed.jpg").write_bytes(changed)
        done = clickscape("inspect", tmp_path / "changed.jpg", *options)
        return done.code, [line.removeprefix(f"{tmp_path}/") for line in done.out.splitlines()]

    pixels = bytearray(data)
    pixels[-400] ^= 1
    code, (first, *lines) = inspected(bytes(pixels), "--trust", root)
    assert (code, first) == (1, "changed.jpg: JPEG, ALTERED since clickscape wrote it")
    assert (
        "  signature    INVALID: the file was changed after it was signed; signed by Tin Shop, Tin Shop ads"
    ) in lines

    code, (first, *lines) = inspected(data.replace(b"oak table", b"ash table"))
    assert (code, first) == (1, "changed.jpg: JPEG, SIGNATURE INVALID"), "the label alone does not notice"

    parts = open_container(data).parts
    unsigned = b"".join(part.data for part in parts if part.data[:2] != b"\xff\xeb")
    assert inspected(unsigned)[0] == 0
    code, (first, *lines) = inspected(unsigned, "--trust", root)
    assert (code, first, lines[-1]) == (1, "changed.jpg: JPEG, unaltered", "  signature    none")

    saved = io.BytesIO()
    with Image.open(original) as image:
        image.save(saved, "JPEG", quality=90)
    code, lines = inspected(saved.getvalue())
    assert code == 1
    assert lines[0].startswith("changed.jpg: no provenance of clickscape")
    assert lines[1:] == ["  signature    none"]

    done = clickscape("inspect", original, "--trust", original)
    assert done.code == 2
    assert re.fullmatch(r"clickscape: .*A 1\.jpg: no certificates in PEM .*\n", done.err)


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_half_signed(signed: Path, tmp_path: Path) -> None:
    """A real process: what lies there when it is killed verifies, and the next run does the rest."""
    copied(signed, tmp_path)
    out = tmp_path / "exports"
    places = [word for name in ("200x200", "250x250", "300x250") for word in ("--placement", f"google-display-{name}")]
    command = ["export", "my-shop", *places, "--out", "exports", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clickscape", *command],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(6_000):
            if list(out.glob(".renditions/*/[!.]*.json")) or process.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    files = [path for path in out.rglob("*.jpg") if not path.name.startswith(".")]
    assert files
    for path in files:
        found = verify(path.read_bytes())
        assert found is not None
        assert found.state == "valid"
    done = clickscape(*command, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "6 files in exports" in done.out
    assert clickscape("inspect", *sorted(out.glob("*/*.jpg")), "--trust", signed / "keys/root.pem").code == 0
