"""Content credentials: signed after the last mux, in the file or beside it; valid, tampered or unsigned."""

from __future__ import annotations

import json
import random
import socket
import stat
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import openltx
from openltx.cli import main
from openltx.media import certificates, credentials
from openltx.media.av_reader import read_frames, read_sound, read_tags
from openltx.media.av_writer import write_audio, write_av
from openltx.media.certificates import load_identity, make_identity
from openltx.media.credentials import BESIDE, EMBEDDED, sidecar, sign_file, verify_file
from openltx.media.exr import write_exr
from openltx.media.hdr import source_space
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.save import SaveAudio, SaveAV, SaveFrames
from openltx.nodes.sealing import SIGNED, WITH_PROMPT, statement

needs_c2pa = pytest.mark.skipif(find_spec("c2pa") is None, reason="NOT TESTED: content credentials; no c2pa here")
SMALL: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 1}
SECRET = "a red ball that nobody may know of"
VIDEOS, SOUNDS = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp"), (".wav", ".flac", ".opus", ".m4a")
STILLS = (".png", ".jpg", ".exr")


@pytest.fixture(autouse=True)
def identity_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "identity"
    monkeypatch.setenv("OPENLTX_CREDENTIALS", str(place))
    return place


@pytest.fixture
def identity(identity_place: Path) -> Any:
    make_identity("A Tester")
    return load_identity()


def _file(folder: Path, suffix: str) -> Path:
    path, frames = folder / f"a{suffix}", torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    tags = {"prompt": json.dumps({"1": {"class_type": "OpenLTXEncodePrompt", "inputs": {"text": SECRET}}})}
    if suffix in VIDEOS:
        sound = None if suffix in (".gif", ".webp") else torch.rand(2, 8000) - 0.5
        return write_av(path, [frames], frame_rate=24, waveform=sound, tags=tags)
    if suffix in SOUNDS:
        return write_audio(path, torch.rand(2, 24000) - 0.5, sample_rate=48000, tags=tags)
    if suffix == ".exr":
        write_exr(path, frames[0], source_space("ACESCG"))
        return path
    Image.fromarray((frames[0].numpy() * 255).astype("uint8")).save(path)
    return path


def _content(path: Path) -> Any:
    if path.suffix in (".png", ".jpg", ".gif", ".webp"):
        with Image.open(path) as image:
            return image.convert("RGB").tobytes()
    if path.suffix == ".exr":
        return path.read_bytes()
    sound = read_sound(path)
    frames = read_frames(path).tolist() if path.suffix in VIDEOS else None
    return frames, None if sound is None else sound.waveform.tolist()


def _changed(path: Path) -> None:
    """One bit of the pictures or samples, not of what surrounds them."""
    data = bytearray(path.read_bytes())
    place = {".png": data.rfind(b"IDAT") + 40, ".jpg": len(data) - 200, ".mp4": data.rfind(b"mdat") + 200}
    place |= {suffix: data.rfind(b"mdat") + 200 for suffix in (".mov", ".m4a")} | {".wav": data.rfind(b"data") + 800}
    place[".webp"] = data.rfind(b"ANMF") + 60
    data[place.get(path.suffix, len(data) - 200)] ^= 1
    path.write_bytes(data)


@needs_c2pa
@pytest.mark.parametrize("suffix", [*VIDEOS, *SOUNDS, *STILLS])
def test_signed_files_are_valid_and_changed_ones_are_found(tmp_path: Path, suffix: str, identity: Any) -> None:
    if suffix == ".exr":
        pytest.importorskip("OpenEXR", reason="NOT TESTED: EXR; no OpenEXR here")
    path = _file(tmp_path, suffix)
    before = _content(path)
    assert verify_file(path).state == "unsigned"
    beside = sign_file(path, identity, {"seed": 7})
    assert (beside is None) == (suffix in EMBEDDED)
    assert (suffix in BESIDE) == (beside == sidecar(path))
    assert _content(path) == before  # nothing that is seen or heard has changed
    verdict = verify_file(path)
    assert (verdict.state, verdict.trusted, verdict.problems) == ("valid", False, ())
    assert verdict.place == ("embedded" if suffix in EMBEDDED else "beside")
    assert verdict.signer == "A Tester, OpenLTX local certificate"
    told = {entry["label"]: entry["data"] for entry in verdict.manifest["assertions"]}
    assert told["org.openltx.generation"] == {"seed": 7}
    (action,) = told["c2pa.actions.v2"]["actions"]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    _changed(path)
    assert verify_file(path).state == "tampered"
    assert verify_file(path).problems
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, f"{path.name}.c2pa", "identity"}


@needs_c2pa
def test_files_that_differ_in_their_suffix_have_a_statement_each(tmp_path: Path, identity: Any) -> None:
    first, second = _file(tmp_path, ".mkv"), _file(tmp_path, ".webm")
    for path in (first, second):
        sign_file(path, identity, {"name": path.name})
    assert {path.name for path in tmp_path.iterdir()} >= {"a.mkv.c2pa", "a.webm.c2pa"}
    assert [verify_file(path).state for path in (first, second)] == ["valid", "valid"]
    sidecar(first).rename(first.with_suffix(".c2pa"))  # the name that other tools give
    assert verify_file(first).state == "valid"


@needs_c2pa
def test_a_damaged_statement_is_tampering_too(tmp_path: Path, identity: Any) -> None:
    path = _file(tmp_path, ".wav")
    sign_file(path, identity, {})
    data = bytearray(path.read_bytes())
    place = data.find(b"org.openltx")
    data[place] ^= 1
    path.write_bytes(data)
    assert verify_file(path).state == "tampered"


@needs_c2pa
def test_broken_signed_files_get_a_verdict_or_one_line(tmp_path: Path, identity: Any) -> None:
    """Never valid where a bit of the frames changed; where the statement is damaged, whatever is said, it is said."""
    numbers, states = random.Random(5), set()
    for suffix in (".mp4", ".png", ".wav", ".mkv"):
        path = _file(tmp_path, suffix)
        beside = sign_file(path, identity, {})
        whole = {part: part.read_bytes() for part in (path, beside) if part is not None}
        for _ in range(40):
            part = numbers.choice(list(whole))
            data = bytearray(whole[part])
            for _ in range(numbers.choice((1, 8))):
                data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
            part.write_bytes(data[: numbers.randrange(len(data))] if numbers.random() < 0.3 else data)
            states.add(_state(path))
            part.write_bytes(whole[part])
        assert verify_file(path).state == "valid"
    assert "tampered" in states


def _state(path: Path) -> str:
    """The verdict, or the one line of a refusal."""
    try:
        return verify_file(path).state
    except ValueError as refusal:
        reason = str(refusal)
    assert "\n" not in reason
    return reason


@needs_c2pa
def test_who_is_trusted(tmp_path: Path, identity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = _file(tmp_path, ".png"), tmp_path / "other"
    sign_file(path, identity, {})
    make_identity("Somebody Else", other)
    assert main(["verify", str(path)]) == 0
    assert "valid (embedded; signed by A Tester, OpenLTX local certificate; trusted)" in capsys.readouterr().out
    (tmp_path / "identity" / "certificate.pem").rename(tmp_path / "mine.pem")
    assert main(["verify", str(path), "--trust", str(other / "certificate.pem")]) == 0
    assert "nobody here vouches for the signer" in capsys.readouterr().out
    assert main(["verify", str(path), "--trust", str(tmp_path / "mine.pem"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["trusted"]) == ("valid", True)
    assert row["manifest"]["claim_generator_info"][0]["name"] == "OpenLTX"


@needs_c2pa
def test_the_local_certificate_is_a_chain_of_two(identity_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography import x509

    assert main(["sign", "--make-certificate", "A Tester"]) == 0
    chain = Path(capsys.readouterr().out.strip())
    assert chain == identity_place / "certificate.pem"
    own, root = x509.load_pem_x509_certificates(chain.read_bytes())
    own.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert own.subject != root.subject
    key = identity_place / "key.pem"
    assert sys.platform == "win32" or stat.S_IMODE(key.stat().st_mode) == 0o600
    before = chain.read_bytes()
    assert main(["sign", "--make-certificate", "Another"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert chain.read_bytes() == before


@needs_c2pa
def test_the_users_own_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import dsa

    path, own = _file(tmp_path, ".mp4"), tmp_path / "own"
    make_identity("Own Certificate", own)
    given = ["--certificate", str(own / "certificate.pem"), "--key", str(own / "key.pem")]
    assert main(["sign", str(path), *given]) == 0
    assert verify_file(path).signer == "Own Certificate, OpenLTX local certificate"
    capsys.readouterr()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    unusable = dsa.generate_private_key(2048).private_bytes(pem, pkcs8, serialization.NoEncryption())
    (tmp_path / "dsa.pem").write_bytes(unusable)
    (tmp_path / "no.pem").write_text("no key")
    before = path.read_bytes()
    cases = {
        "no.pem": "expected a private key (PEM, without password)",
        "dsa.pem": "expected a key for ECDSA, Ed25519 or RSA",
        "none.pem": "no such file",
    }
    for name, text in cases.items():
        assert main(["sign", str(path), *given[:3], str(tmp_path / name)]) == 2
        errors = capsys.readouterr().err
        assert text in errors
        assert len(errors.splitlines()) == 1
    other = tmp_path / "other"
    make_identity("Other", other)
    assert main(["sign", str(path), *given[:3], str(other / "key.pem")]) == 2  # a key of another certificate
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert path.read_bytes() == before


@needs_c2pa
def test_the_prompt_is_told_only_if_allowed(tmp_path: Path, identity: Any) -> None:
    for allowed in (False, True):
        path = _file(tmp_path, ".mp4")
        assert main(["sign", str(path), *(["--with-prompt"] if allowed else [])]) == 0
        told = json.dumps(verify_file(path).manifest)
        assert (SECRET in told) == allowed
    graph = json.loads(read_tags(path)["prompt"])
    with use(Settings(metadata=False)):
        assert set(statement(graph, with_prompt=True)) == {"openltx"}


@needs_c2pa
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_run_signs_what_it_saves(tmp_path: Path, container: str, identity: Any) -> None:
    path = tmp_path / f"a.{container}"
    for choice in (SIGNED, WITH_PROMPT):
        openltx.run(prompt=SECRET, output=path, settings={"Save.credentials": choice}, **SMALL)
        verdict = verify_file(path)
        assert verdict.state == "valid"
        told = json.dumps(verdict.manifest)
        assert (SECRET in told) == (choice == WITH_PROMPT)
        assert "openltx-tiny-2.3.safetensors" in told
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, f"{path.name}.c2pa", "identity"}
    openltx.run(prompt=SECRET, output=path, **SMALL)  # over the signed one: nothing is left that speaks of it
    assert verify_file(path).state == "unsigned"


@needs_c2pa
def test_an_expired_certificate_is_not_tampering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "YEARS", 6 / (365 * 86400))  # six seconds
    make_identity("Short Lived")
    path, brief = _file(tmp_path, ".png"), load_identity()
    sign_file(path, brief, {})
    deadline = time.monotonic() + 30
    while verify_file(path).state == "valid":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    verdict = verify_file(path)
    assert (verdict.state, verdict.problems) == ("invalid", ("signingCredential.expired: certificate expired",))
    with pytest.raises(ValueError, match="cannot sign with this certificate"):
        sign_file(path, brief, {})


@needs_c2pa
def test_nodes_sign_sound_and_sequences(tmp_path: Path, identity: Any) -> None:
    with use(Settings(output_folder=tmp_path)):
        SaveAudio.execute({"waveform": torch.rand(1, 2, 4800), "sample_rate": 48000}, "b", "wav", SIGNED)
        SaveFrames.execute(torch.rand(2, 16, 16, 3), "c", "png", SIGNED)
        SaveAV.execute(torch.rand(2, 32, 32, 3), 24.0, "d", "webm", credentials=SIGNED)
    signed = ["b_00001_.wav", "c_00001__png/frame_00000.png", "c_00001__png/frame_00001.png", "d_00001_.webm"]
    assert [verify_file(tmp_path / name).state for name in signed] == ["valid"] * 4
    assert sorted(path.name for path in (tmp_path / "c_00001__png").iterdir()) == ["frame_00000.png", "frame_00001.png"]


@needs_c2pa
def test_a_missing_certificate_shows_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make a local one: openltx sign --make-certificate NAME"):
        openltx.run(prompt="a", output=tmp_path / "a.mp4", settings={"Save.credentials": SIGNED}, **SMALL)
    with pytest.raises(ValueError, match="expected one of 'none', 'signed'"):
        openltx.run(prompt="a", output=tmp_path / "a.mp4", settings={"Save.credentials": "maybe"}, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And everything else works as before."""
    monkeypatch.setitem(sys.modules, "c2pa", None)
    path = _file(tmp_path, ".png")
    assert main(["verify", str(path)]) == 2
    assert capsys.readouterr().err == (
        "openltx: content credentials: the c2pa-python package is missing; pip install 'openltx[c2pa]'\n"
    )
    with pytest.raises(ValueError, match=r"pip install 'openltx\[c2pa\]'"):
        openltx.run(prompt="a", output=tmp_path / "a.mp4", settings={"Save.credentials": SIGNED}, **SMALL)
    openltx.run(prompt="a", output=tmp_path / "a.mp4", **SMALL)
    assert "openltx" in read_tags(tmp_path / "a.mp4")


@needs_c2pa
def test_commands_and_what_cannot_be_read(tmp_path: Path, identity: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, ".mp4")
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().out == f"{path}: unsigned\n"
    assert main(["sign", str(path)]) == 0
    _changed(path)
    capsys.readouterr()
    assert main(["verify", str(path)]) == 1
    assert f"{path}: tampered (embedded; signed by A Tester" in capsys.readouterr().out
    (tmp_path / "note.mp4").write_text("hello")
    (tmp_path / "note.txt").write_text("hello")
    for name, command in (("note.mp4", "verify"), ("none.mp4", "verify"), ("none.mp4", "sign"), ("note.txt", "sign")):
        assert main([command, str(tmp_path / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "note.txt").read_text() == "hello"


@needs_c2pa
@pytest.mark.parametrize("offline", [True, False])
def test_no_network(tmp_path: Path, identity: Any, offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that points to a statement elsewhere: nobody asks there. With c2pa's own settings somebody would."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        threading.Thread(target=_answer, args=(server, asked), daemon=True).start()
        path = _file(tmp_path, ".png")
        _point(path, identity, f"http://127.0.0.1:{server.getsockname()[1]}/a.c2pa")
        if offline:
            verdict = verify_file(path)
            assert verdict.state == "unsigned"
            assert "its statement lies elsewhere, and no network is used" in verdict.problems[0]
        else:
            monkeypatch.setattr(credentials, "_SETTINGS", {"verify": {"remote_manifest_fetch": True}})
            verify_file(path)
    assert asked.is_set() != offline


def _answer(server: socket.socket, asked: threading.Event) -> None:
    try:
        connection, _ = server.accept()
    except OSError:
        return
    asked.set()
    connection.close()


def _point(path: Path, identity: Any, url: str) -> None:
    import c2pa

    pointed = path.with_name("pointed.png")
    with credentials._builder(c2pa, "image/png", {}) as builder, credentials._signer(c2pa, identity) as signer:
        builder.set_no_embed()
        builder.set_remote_url(url)
        with path.open("rb") as source, pointed.open("w+b") as target:
            builder.sign(signer, "image/png", source, target)
    pointed.replace(path)
