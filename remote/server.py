"""Speaks HTTP to the one server that the user named: no proxy, no redirect (comfyui_host.md section 4.5)."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import IO, Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

SECONDS = 60.0  # that the server may be silent
CHUNK = 1 << 20  # bytes of an upload at a time
HEADER = re.compile(r"([A-Za-z0-9-]+):\s*(\S.*)")


class Refused(RuntimeError):
    """The server answered, and not with what was asked for: `status` of HTTP and `content`, parsed where it is JSON."""

    def __init__(self, reason: str, status: int, content: Any) -> None:
        super().__init__(reason)
        self.status, self.content = status, content


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Server:
    """A ComfyUI server. Every method raises Refused for its refusals, OSError where it does not answer."""

    def __init__(self, address: str, auth: str | None = None) -> None:
        """address: http(s)://HOST[:PORT][/PATH]. auth: `Name: value`, or the value of the Authorization header.

        Raises ValueError, one line, for either in another form.
        """
        self.address, self._headers = _address(address), _headers(auth)
        self._opener = build_opener(ProxyHandler({}), _NoRedirect())
        self._types: dict[str, dict[str, Any] | None] = {}

    def get(self, path: str, **query: str) -> Any:
        """Parsed JSON."""
        with self._open(path + (f"?{urlencode(query)}" if query else "")) as answer:
            return _parsed(answer.read())

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        """Parsed JSON, or None where the answer is empty."""
        body = json.dumps(content).encode()
        with self._open(path, body, {"Content-Type": "application/json"}) as answer:
            return _parsed(answer.read())

    def described(self, class_type: str) -> dict[str, Any] | None:
        """The entry of a node type in /object_info; None for one that the server does not have."""
        if class_type not in self._types:
            found = self.get(f"/object_info/{quote(class_type, safe='')}")
            self._types[class_type] = found.get(class_type) if isinstance(found, dict) else None
        return self._types[class_type]

    def upload(self, file: Path) -> str:
        """The name under which the server's input folder has the file now; it numbers a name that is taken."""
        boundary = uuid.uuid4().hex
        head, tail = _around(file, boundary)
        size = len(head) + file.stat().st_size + len(tail)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}
        with self._open("/upload/image", _stream(head, file, tail), headers) as answer:
            stored = _parsed(answer.read())
        return "/".join(part for part in (stored.get("subfolder"), stored["name"]) if part)

    def download(self, entry: Mapping[str, str], target: Path) -> None:
        """Write a file that a node reported ({"filename", "subfolder", "type"}) to `target`."""
        query = {name: entry.get(name, "") for name in ("filename", "subfolder", "type")}
        with self._open(f"/view?{urlencode(query)}") as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, CHUNK)
            expected = answer.headers.get("Content-Length")
        if expected is not None and target.stat().st_size != int(expected):
            raise ConnectionError(f"{self.address}: {entry['filename']} ended after {target.stat().st_size} bytes")

    def listen(self, path: str) -> tuple[BinaryIO, Callable[[], None]]:
        """The bytes of a web socket, and what ends it."""
        parts = urlsplit(self.address)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        asked = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        connection.request("GET", parts.path + path, headers={**self._headers, **asked})
        wire = connection.sock
        answer = connection.getresponse()
        if answer.status != 101:
            connection.close()
            raise Refused(f"{self.address}: no web socket", answer.status, None)
        wire.settimeout(None)  # a node may be silent for long

        def close() -> None:
            with suppress(OSError):
                wire.shutdown(SHUT_RDWR)
            connection.close()

        return answer.fp, close

    def _open(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        request = Request(self.address + path, body, {**self._headers, **(headers or {})})
        try:
            return self._opener.open(request, timeout=SECONDS)
        except HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(f"{self.address}: no ComfyUI answers there ({reason}); is it running?") from error

    def _refusal(self, error: HTTPError) -> Exception:
        if error.code in (401, 403):
            return ValueError(f"{self.address}: the server wants to know who asks ({error.code}); give --auth")
        if 300 <= error.code < 400:
            place = error.headers.get("Location", "an unnamed place")
            return ValueError(f"{self.address}: expected a ComfyUI server, found a redirect to {place}; name that one")
        if error.code == 413:
            return ValueError(f"{self.address}: the file is larger than the server takes; see its --max-upload-size")
        text = error.read()
        return Refused(f"{self.address}: {error.code} {error.reason}", error.code, _json_or_none(text))


def free_port() -> int:
    """A port of this machine on which nobody listens now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"--server: expected http://HOST:PORT or https://HOST, found {text!r}")
    return text.rstrip("/")


def _headers(auth: str | None) -> dict[str, str]:
    if auth is None:
        return {}
    if not auth.strip() or not auth.isprintable() or not auth.isascii():
        raise ValueError(
            "--auth: expected 'Name: value' or the value of the Authorization header, in one line of ASCII"
        )
    named = HEADER.fullmatch(auth)
    return {named[1]: named[2]} if named else {"Authorization": auth}


def _json_or_none(text: bytes) -> Any:
    try:
        return json.loads(text or b"null")
    except ValueError:
        return None


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text or b"null")
    except ValueError as error:
        raise ConnectionError("expected the answer of a ComfyUI server, found no JSON; check the address") from error


def _around(file: Path, boundary: str) -> tuple[bytes, bytes]:
    """What stands before and after the file's bytes in a multipart body."""
    name = re.sub(r'[\r\n"\\]', "_", file.name)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    field = f'--{boundary}\r\nContent-Disposition: form-data; name="type"\r\n\r\ninput\r\n'
    opening = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
    return f"{field}{opening}Content-Type: {kind}\r\n\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()


def _stream(head: bytes, file: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    source: IO[bytes]
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
    yield tail
