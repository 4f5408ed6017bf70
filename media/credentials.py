"""Content credentials (C2PA): signed statements of a file's making, by the c2pa-python package (optional extra `c2pa`).

Signed is the finished file: nothing may be muxed after. Formats that cannot carry a statement get it in a file beside
them, `name.mkv.c2pa`; `name.c2pa`, as other tools name it, is read too. Nothing here uses the network: no time stamps,
no fetched statements, no revocation lists.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..package_version import version
from .certificates import Identity

if TYPE_CHECKING:
    from types import ModuleType

SIDECAR = ".c2pa"
EMBEDDED = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
BESIDE = {".mkv": "video/x-matroska", ".webm": "video/webm", ".opus": "audio/ogg", ".exr": "image/x-exr"}
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
OWN_ASSERTION = "org.openltx.generation"
UNTRUSTED = "signingCredential.untrusted"
MARK, BLOCK = b"c2pa", 1 << 20  # every statement's container has this label

State = Literal["valid", "tampered", "invalid", "unsigned"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify_file` found.

    invalid: the file is as it was signed, but the signature itself does not count (an expired certificate, for
    instance). trusted: the signer's certificate leads to one that was named as trusted. place: where the statement is.
    problems: codes and words of the C2PA specification. manifest: the statement, as JSON has it.
    """

    state: State
    place: Literal["embedded", "beside"] | None = None
    signer: str | None = None
    trusted: bool = False
    problems: tuple[str, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sidecar(path: Path) -> Path:
    """The name of the file beside `path`: with its whole name, so that a.mkv and a.webm have one each."""
    return path.with_name(path.name + SIDECAR)


def sign_file(path: Path, identity: Identity, statement: Mapping[str, Any]) -> Path | None:
    """Sign a finished file in place; returns the file beside it where its format cannot carry the statement, else None.

    statement: what else is told, ready for JSON, under `org.openltx.generation`. Raises ValueError for formats that
    are not known, certificates that C2PA does not allow, and without the extra `c2pa`.
    """
    package, suffix = _package(), path.suffix.lower()
    media_type = EMBEDDED.get(suffix) or BESIDE.get(suffix)
    if media_type is None:
        known = ", ".join((*EMBEDDED, *BESIDE))
        raise ValueError(f"{path}: expected a file of a kind that can be signed ({known}), found {suffix or 'none'}")
    signed = path.with_name(f"signed{path.suffix}")
    try:
        with _builder(package, media_type, statement) as builder, _signer(package, identity) as signer:
            if suffix in BESIDE:
                builder.set_no_embed()
                with path.open("rb") as source:
                    data = builder.sign(signer, media_type, source, io.BytesIO())
                sidecar(path).write_bytes(data)
                return sidecar(path)
            with path.open("rb") as source, signed.open("w+b") as target:
                builder.sign(signer, media_type, source, target)
        os.replace(signed, path)
    except package.C2paError as error:
        raise ValueError(f"content credentials: cannot sign with this certificate or file ({error})") from error
    finally:
        signed.unlink(missing_ok=True)
    return None


def verify_file(path: Path, *, trusted: Sequence[bytes] = ()) -> Verdict:
    """Whether a file is as it was signed. trusted: root certificates (PEM) that vouch for signers.

    Raises ValueError for a file that cannot be read, and without the extra `c2pa`.
    """
    package, suffix = _package(), path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    beside = sidecar(path) if sidecar(path).is_file() else path.with_suffix(SIDECAR)
    kept = {} if not trusted else {"trust": {"user_anchors": b"\n".join(trusted).decode()}}
    context = package.Context(package.Settings.from_dict(_SETTINGS | kept))
    found = _embedded(package, context, path, EMBEDDED[suffix]) if suffix in EMBEDDED else Verdict(state="unsigned")
    if found.state != "unsigned" or not beside.is_file() or beside == path:
        return found
    media_type = EMBEDDED.get(suffix) or BESIDE.get(suffix, "application/octet-stream")
    try:
        return _verdict(package, context, path, media_type, beside.read_bytes())
    except package.C2paError as error:
        return Verdict(state="tampered", place="beside", problems=(str(error),))


def _embedded(package: Any, context: Any, path: Path, media_type: str) -> Verdict:
    try:
        return _verdict(package, context, path, media_type, None)
    except package.C2paError.ManifestNotFound:
        return Verdict(state="unsigned")
    except package.C2paError as error:
        if str(error).startswith("Remote"):
            problem = f"its statement lies elsewhere, and no network is used ({error})"
            return Verdict(state="unsigned", problems=(problem,))
        if not _marked(path):
            raise ValueError(f"{path}: expected a {path.suffix} file that can be read, found none ({error})") from error
        return Verdict(state="tampered", place="embedded", problems=(str(error),))


def available() -> None:
    """Raises ValueError, one line, without the extra `c2pa`."""
    _package()


_SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
    "builder": {"thumbnail": {"enabled": False}},
}


def _verdict(package: Any, context: Any, path: Path, media_type: str, data: bytes | None) -> Verdict:
    with path.open("rb") as file, package.Reader(media_type, file, data, context) as reader:
        state, active = reader.get_validation_state(), reader.get_active_manifest() or {}
        results = (reader.get_validation_results() or {}).get("activeManifest", {})
    failures = [entry for entry in results.get("failure", ()) if entry["code"] != UNTRUSTED]
    found: State = "valid"
    if state == "Invalid":
        # A certificate can be at fault alone; everything else means that bytes are not those that were signed.
        certificate = failures and all(entry["code"].startswith("signingCredential.") for entry in failures)
        found = "invalid" if certificate else "tampered"
    signature = active.get("signature_info", {})
    names = (signature.get("common_name"), signature.get("issuer"))
    return Verdict(
        state=found,
        place="embedded" if data is None else "beside",
        signer=", ".join(name for name in names if name) or None,
        trusted=state == "Trusted",
        problems=tuple(f"{entry['code']}: {entry.get('explanation', '')}" for entry in failures),
        manifest=active,
    )


def _builder(package: Any, media_type: str, statement: Mapping[str, Any]) -> Any:
    agent = {"name": "OpenLTX", "version": version()}
    created = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
    manifest = {
        "claim_generator_info": [agent],
        "format": media_type,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": OWN_ASSERTION, "data": dict(statement)},
        ],
    }
    return package.Builder.from_json(json.dumps(manifest), package.Context(package.Settings.from_dict(_SETTINGS)))


def _signer(package: Any, identity: Identity) -> Any:
    return package.Signer.from_info(
        package.C2paSignerInfo(identity.algorithm, identity.certificates, identity.key, None)
    )


def _marked(path: Path) -> bool:
    """Whether a file holds what looks like a statement."""
    end = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if MARK in end + block:
                return True
            end = block[-len(MARK) :]
    return False


def _package() -> ModuleType:
    try:
        return import_module("c2pa")
    except (ImportError, OSError) as error:  # OSError: its library does not load here
        raise ValueError(
            "content credentials: the c2pa-python package is missing; pip install 'openltx[c2pa]'"
        ) from error
