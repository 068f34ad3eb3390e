"""Names and keys: their texts and files."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import ConfigError, DiskFullError
from holdfast.storage.multibase import BASE58, to_digits
from holdfast.storage.names.key import PrivateKey, is_signed
from holdfast.storage.names.keys import Keys
from holdfast.storage.names.name import Name

KNOWN = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w"


def test_a_name_has_one_text_and_is_read_from_others() -> None:
    name = Name.parse(KNOWN)
    assert str(name) == KNOWN
    assert Name.parse(str(name.cid)) == name
    peer = to_digits(name.cid.multihash, BASE58)
    assert peer.startswith("12D3Koo")
    assert Name.parse(peer) == name


@pytest.mark.parametrize(
    "text",
    [
        "", "k", "k51", KNOWN[:-1], KNOWN + "k", "1", "12D3Koo", "k" * 1000, "nobody",
        str(CID.of(RAW, b"x")), "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
    ],
)  # fmt: skip
def test_what_is_no_name_is_said_so(text: str) -> None:
    with pytest.raises(ConfigError):
        Name.parse(text)


def test_a_name_of_an_rsa_key_is_refused_by_kind() -> None:
    with pytest.raises(ConfigError, match="RSA"):
        Name.parse(str(CID(1, 0x72, CID.of(RAW, b"x").multihash)))


def test_a_key_signs_and_only_its_name_checks() -> None:
    key, other = PrivateKey.generate(), PrivateKey.generate()
    signature = key.sign(b"data")
    assert is_signed(key.name, b"data", signature)
    assert not is_signed(key.name, b"dat", signature)
    assert not is_signed(other.name, b"data", signature)
    assert not is_signed(key.name, b"data", signature[:-1])
    assert not is_signed(Name(bytes(32)), b"data", signature)


def test_both_file_forms_read_back() -> None:
    key = PrivateKey.generate()
    for data, passphrase in ((key.to_pem(), None), (key.to_pem(b"word"), b"word"), (key.to_libp2p(), None)):
        assert PrivateKey.parse(data, passphrase).name == key.name


def test_wrong_key_files_are_named_and_nothing_is_shown() -> None:
    key = PrivateKey.generate()
    p256 = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    halves = key.to_libp2p()[:36] + PrivateKey.generate().name.public_key
    cases = [
        (b"", None, "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "not a private key"),
        (key.to_pem(b"word"), None, "has a passphrase"),
        (key.to_pem(b"word"), b"other", "passphrase is wrong"),
        (key.to_pem(), b"word", "has no passphrase"),
        (p256, None, "not of Ed25519"),
        (halves, None, "halves"),
        (key.to_libp2p()[:-1], None, "length"),
        (bytes(1 << 20), None, "more than"),
    ]
    for data, passphrase, said in cases:
        with pytest.raises(ConfigError, match=said) as caught:
            PrivateKey.parse(data, passphrase)
        shown = f"{caught.value.message} {caught.value.hint}"
        assert "word" not in shown
        assert "AAAA" not in shown
    assert key.to_libp2p()[4:36].hex() not in repr(key)


def test_the_folder_of_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "repo/keys")
    assert keys.ls() == ([], [])
    plain, secret = PrivateKey.generate(), PrivateKey.generate()
    keys.add("plain", plain)
    listed = keys.add("secret", secret, b"word")
    assert [(key.label, key.encrypted) for key in keys.ls()[0]] == [("plain", False), ("secret", True)]
    assert keys.find(str(secret.name)) == keys.find("secret") == listed
    assert keys.load("plain").name == plain.name
    assert keys.load("secret", b"word").name == secret.name
    for path in keys.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    for call in (
        lambda: keys.add("plain", secret), lambda: keys.load("secret"), lambda: keys.load("secret", b"other"),
        lambda: keys.load("none"), lambda: keys.find("none"), lambda: keys.add("../up", plain),
        lambda: keys.add("", plain), lambda: keys.add(".hidden", plain),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            call()
    assert len(keys.ls()[0]) == 2
    assert keys.load("plain").name == plain.name


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.add("open", PrivateKey.generate())
    (tmp_path / "open.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        keys.load("open")


def test_a_damaged_or_swapped_key_file_is_noticed(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.add("a", PrivateKey.generate())
    keys.add("b", PrivateKey.generate())
    head, _, _ = (tmp_path / "a.pem").read_bytes().partition(b"\n")
    _, _, body = (tmp_path / "b.pem").read_bytes().partition(b"\n")
    (tmp_path / "a.pem").write_bytes(head + b"\n" + body)
    with pytest.raises(ConfigError, match="another name"):
        keys.load("a")
    (tmp_path / "b.pem").write_bytes(os.urandom(100))
    with pytest.raises(ConfigError, match="names no key"):
        keys.load("b")


def test_one_bad_file_hides_no_other_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    good = PrivateKey.generate()
    keys.add("good", good)
    keys.add("open", PrivateKey.generate())
    (tmp_path / "open.pem").chmod(0o644)
    (tmp_path / "empty.pem").touch(mode=0o600)
    (tmp_path / "my copy.pem").write_text("of something")
    found, problems = keys.ls()
    assert [key.label for key in found] == ["good"]
    assert len(problems) == 2
    assert keys.find(str(good.name)).label == keys.find("good").label == "good"


def test_a_key_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill before the end: nothing under the label, and nothing that blocks it."""
    keys = Keys(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DiskFullError):
            keys.add("a", PrivateKey.generate())
    assert list(tmp_path.iterdir()) == []
    keys.add("a", PrivateKey.generate())
