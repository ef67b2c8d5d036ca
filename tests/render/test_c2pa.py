"""Signed manifests by c2pa's own library: what is signed verifies, what is changed does not, and nothing is fetched."""

from __future__ import annotations

import hashlib
import http.server
import io
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image
from tests.certificates import NOW, Signer, make_self_signed, make_signer

from clickscape.config.c2pa import C2paConfig
from clickscape.errors import ConfigError, ImageError
from clickscape.render import provenance
from clickscape.render.c2pa_reading import verify
from clickscape.render.c2pa_signing import Claim, Signing, manifest_bytes, open_signing, sign
from clickscape.render.containers import Format, open_container
from clickscape.render.provenance import Provenance

FORMATS: tuple[Format, ...] = ("PNG", "JPEG", "WEBP")
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def encoded(form: str, **options: object) -> bytes:
    written = io.BytesIO()
    Image.fromarray(NOISE).save(written, form, **options)
    return written.getvalue()


def labeled(form: str) -> bytes:
    return provenance.embed(encoded(form), Provenance("A-1", "studio", "tiny", "compositeSynthetic"))


PHOTO = encoded("PNG")
CLAIM = Claim("A-1 at meta-feed", "compositeSynthetic", "photo of product A", PHOTO)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


@pytest.fixture(scope="module")
def signing(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Signing:
    folder = tmp_path_factory.mktemp("keys")
    return opened(signer.save(folder))


def opened(config: C2paConfig, folder: Path = Path("/nowhere")) -> Signing:
    made = open_signing(config, folder=folder, now=NOW)
    assert made is not None
    return made


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_signed_verifies_and_says_who_what_and_of_which_photo(
    form: Format, signer: Signer, signing: Signing
) -> None:
    plain = labeled(form)
    data = sign(plain, replace(CLAIM, has_text=True), signing)
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(data)) as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))
    label = provenance.inspect(data)
    assert label is not None
    assert not label.altered
    found = verify(data)
    assert found is not None
    assert (found.state, found.problem, found.trust) == ("valid", "", "unchecked")
    assert found.signer == signing.name == "Tin Shop, Tin Shop ads"
    assert found.actions == ("c2pa.created (compositeSynthetic)", "c2pa.placed", "c2pa.addedText")
    assert found.ingredients == (f"photo of product A (componentOf, sha256:{hashlib.sha256(PHOTO).hexdigest()})",)
    assert re.fullmatch(r"clickscape \d+\.\d+\.\d+\S*", found.generator)
    assert 0 <= manifest_bytes(CLAIM, signing) - (len(sign(plain, CLAIM, signing)) - len(plain)) < 1_000

    trusted, foreign = verify(data, anchors=signer.root.decode()), verify(data, anchors=make_signer().root.decode())
    assert trusted is not None
    assert foreign is not None
    assert (trusted.state, trusted.trust, foreign.state, foreign.trust) == ("valid", "trusted", "valid", "untrusted")


@pytest.mark.parametrize("form", FORMATS)
def test_every_byte_that_is_changed_outside_the_manifest_is_noticed(form: Format, signing: Signing) -> None:
    """Pixels, label and structure; 60 places over the whole file."""
    plain = labeled(form)
    data = sign(plain, CLAIM, signing)
    tails = {part.data for part in open_container(plain).parts if part.role in ("picture", "packet")}
    places = [data.index(tail) + offset for tail in tails if tail for offset in range(0, len(tail), len(plain) // 60)]
    assert len(places) > 40
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1
        try:
            found = verify(bytes(damaged))
        except ImageError:
            continue
        assert found is None or found.state == "invalid", place
    middle = bytearray(data)
    middle[data.index(max(tails, key=len)) + len(plain) // 2] ^= 1
    found = verify(bytes(middle))
    assert found is not None
    assert found.problem == "the file was changed after it was signed"


def test_a_manifest_that_is_damaged_is_invalid_or_says_what_it_said(signing: Signing) -> None:
    """Only padding may be changed unnoticed; nothing makes the reader fail."""
    plain = labeled("JPEG")
    data = sign(plain, CLAIM, signing)
    whole = verify(data)
    at, length = data.index(b"\xff\xeb"), len(data) - len(plain)
    rng = np.random.default_rng(1)
    states = []
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(at + 4, at + length, size=rng.integers(1, 4)):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            found = verify(bytes(damaged))
        except ImageError:
            continue
        if found is not None:
            states.append(found.state)
            assert found.state == "invalid" or found == whole
    assert states.count("invalid") > 60


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_every_kind_of_key_that_c2pa_knows_signs(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    found = verify(sign(labeled("JPEG"), CLAIM, opened(make_signer(key=key).save(tmp_path))))
    assert found is not None
    assert found.state == "valid"


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_a_photos_own_manifest_comes_along_unless_it_cannot_be_read(
    broken: bool, signing: Signing, tmp_path: Path
) -> None:
    photo = sign(PHOTO, CLAIM, opened(make_signer("Photographer").save(tmp_path)))
    if broken:
        photo = photo.replace(b"jumb", b"jump")
    data = sign(labeled("JPEG"), replace(CLAIM, photo=photo), signing)
    with c2pa.Reader("image/jpeg", io.BytesIO(data)) as reader:
        assert ("Photographer" in reader.json()) is not broken
        assert reader.get_validation_state() == "Valid"
    found = verify(data)
    assert found is not None
    assert found.ingredients == (f"photo of product A (componentOf, sha256:{hashlib.sha256(photo).hexdigest()})",)
    assert len(data) - len(labeled("JPEG")) <= manifest_bytes(replace(CLAIM, photo=photo), signing)


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine."""
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers 404, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, asked


def test_what_a_file_names_is_never_fetched(server: tuple[str, list[str]], signing: Signing) -> None:
    """The library would: the same photo with its own settings is the control."""
    address, asked = server
    description = (
        f'<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}/manifest"/>'
    )
    rdf = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF>'
    photo = encoded("JPEG", xmp=f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode())
    with_box = photo[:2] + b"\xff\xeb\x00\x1aJP\x00\x01\x00\x00\x00\x01\x00\x00\x00\x10jumb" + bytes(8) + photo[2:]
    for hostile in (photo, with_box):
        verify(hostile)
        sign(labeled("JPEG"), replace(CLAIM, photo=hostile), signing)
    sign(photo, CLAIM, signing)
    assert asked == []
    with pytest.raises(c2pa.C2paError, match="404"):
        c2pa.Reader("image/jpeg", io.BytesIO(photo))
    assert asked == ["/manifest"]


def test_a_time_stamp_is_asked_for_only_where_settings_do_and_its_failure_is_told(
    server: tuple[str, list[str]], signing: Signing
) -> None:
    address, asked = server
    stamped = replace(signing, time_stamp_url=f"{address}/stamp")
    assert manifest_bytes(CLAIM, stamped) > manifest_bytes(CLAIM, signing) + 5_000, "room for the stamp"
    assert asked == []
    with pytest.raises(ConfigError, match=r"c2pa\.time_stamp_url: no time stamp \(.*404.*\)\. Correct the address"):
        sign(labeled("JPEG"), CLAIM, stamped)
    assert asked == ["/stamp"]


TSA = """
[tsa]
default_tsa = own
[own]
serial = {folder}/serial
signer_cert = {folder}/chain.pem
certs = {folder}/root.pem
signer_key = {folder}/key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which plays the time-stamping authority")
def test_a_time_stamp_says_when_and_an_authority_is_trusted_or_not(
    signing: Signing, signer: Signer, tmp_path: Path
) -> None:
    authority = make_signer("Clock", usage=ExtendedKeyUsageOID.TIME_STAMPING)
    authority.save(tmp_path)
    (tmp_path / "serial").write_text("01\n", encoding="ascii")
    (tmp_path / "tsa.cnf").write_text(TSA.format(folder=tmp_path), encoding="utf-8")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (tmp_path / "query").write_bytes(self.rfile.read(int(self.headers["content-length"])))
            reply = ["openssl", "ts", "-reply", "-config", tmp_path / "tsa.cnf", "-queryfile", tmp_path / "query"]
            answer = subprocess.run(reply, check=True, capture_output=True).stdout
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        stamped = replace(signing, time_stamp_url=address)
        data = sign(labeled("JPEG"), CLAIM, stamped)
    assert len(data) - len(labeled("JPEG")) <= manifest_bytes(CLAIM, stamped)
    roots = {"unchecked": b"", "untrusted": signer.root, "trusted": signer.root + authority.root}
    for trust, root in roots.items():
        found = verify(data, anchors=root.decode())
        assert found is not None
        assert (found.state, found.time_trust) == ("valid", trust)
        assert abs((datetime.fromisoformat(found.time) - datetime.now(UTC)).total_seconds()) < 600


def dsa_key(_: Signer) -> bytes:
    return dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("key.pem", lambda _: None, r"c2pa\.private_key: .*key\.pem: no such file"),
        ("key.pem", lambda _: ..., r"c2pa\.private_key: .*key\.pem: no regular file"),
        ("key.pem", lambda _: make_signer().key_pem(), r"private_key is not the key of c2pa\.certificate"),
        ("key.pem", lambda one: one.key_pem(password=b"sesame"), "locked by a password"),
        ("key.pem", lambda one: one.key_pem()[:90], "no private key that C2PA knows"),
        ("key.pem", dsa_key, "no private key that C2PA knows"),
        ("chain.pem", lambda _: None, r"c2pa\.certificate: .*chain\.pem: no such file"),
        ("chain.pem", lambda one: one.key_pem(), "holds no certificate in PEM"),
    ],
    ids=["no key", "folder", "wrong key", "locked", "damaged", "DSA", "no certificate", "key for certificate"],
)
def test_a_file_that_does_not_do_is_told_by_its_cause_and_no_key_is_quoted(
    file: str, content: Callable[[Signer], object], problem: str, signer: Signer, tmp_path: Path
) -> None:
    config = signer.save(tmp_path)
    (tmp_path / file).unlink()
    if isinstance(made := content(signer), bytes):
        (tmp_path / file).write_bytes(made)
    elif made is not None:
        (tmp_path / file).mkdir()
    with pytest.raises(ConfigError, match=problem) as caught:
        opened(config)
    secret = signer.key_pem().decode().splitlines()[1]
    assert secret[:16] not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: make_signer(days=(-9, -2)), r"is valid from .* to .*, not now\. Ask its issuer"),
        (lambda: make_signer(days=(2, 9)), r"is valid from .* to .*, not now\. Ask its issuer"),
        (make_self_signed, r"C2PA does not admit c2pa\.certificate: .*\. It needs one for signing"),
        (lambda: make_signer(usage=ExtendedKeyUsageOID.SERVER_AUTH), r"C2PA does not admit c2pa\.certificate"),
    ],
    ids=["expired", "not yet valid", "self-signed", "a web server's"],
)
def test_a_certificate_that_c2pa_does_not_admit_is_refused_before_anything_is_signed(
    make: Callable[[], Signer], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        opened(make().save(tmp_path))


def test_a_key_may_stand_in_a_listed_variable_but_not_in_the_workspace(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = signer.save(tmp_path / "keys")
    named = config.changed(private_key="${C2PA_KEY}")
    for value in (signer.key_pem().decode(), config.private_key):
        monkeypatch.setenv("C2PA_KEY", value)
        monkeypatch.delenv("CLICKSCAPE_ALLOWED_ENV", raising=False)
        with pytest.raises(ConfigError, match=r"not set, or not listed\. .* export CLICKSCAPE_ALLOWED_ENV=C2PA_KEY"):
            opened(named)
        monkeypatch.setenv("CLICKSCAPE_ALLOWED_ENV", "C2PA_KEY")
        made = opened(named)
        assert made.key == "${C2PA_KEY}"
        assert value not in repr(made)
        assert pickle.loads(pickle.dumps(made)) == made, "as it goes to a worker process"
        found = verify(sign(labeled("PNG"), CLAIM, made))
        assert found is not None
        assert found.state == "valid"
    monkeypatch.setenv("C2PA_KEY", "a secret of another kind")
    with pytest.raises(ConfigError, match=r"c2pa\.private_key: \$\{C2PA_KEY\}: no such file"):
        opened(named)
    with pytest.raises(ConfigError, match="lies in the workspace"):
        opened(config, folder=tmp_path)
    with pytest.raises(ConfigError, match="a key has no place in a settings file"):
        config.changed(private_key=signer.key_pem().decode())
    for half in ({"private_key": ""}, {"certificate": ""}):
        with pytest.raises(ConfigError, match="Signing needs both"):
            opened(config.changed(**half))
    assert open_signing(C2paConfig(), folder=tmp_path, now=NOW) is None


def test_without_the_extra_a_signature_is_said_to_be_unchecked(
    signing: Signing, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sign(labeled("PNG"), CLAIM, signing)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = verify(data)
    assert found is not None
    assert found.state == "unchecked"
    assert found.problem.endswith("pip install 'clickscape[c2pa]'")
    assert verify(labeled("PNG")) is None
    with pytest.raises(ConfigError, match=r"pip install 'clickscape\[c2pa\]'"):
        opened(signer.save(tmp_path))
