"""What ComfyUI's web socket tells of a job while it runs: frames of RFC 6455, read only (comfyui_host.md 4.3).

Pings are not answered: ComfyUI sends none, and a proxy that gives up on us costs the bar, not the job.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from .server import Refused, Server

TEXT, CLOSE, LAST = 0x1, 0x8, 0x80
SIZES = {126: 2, 127: 8}  # bytes of a length that does not fit into seven bits


@contextmanager
def heard(server: Server, client: str, hear: Callable[[str, dict[str, Any]], None]) -> Iterator[bool]:
    """`hear(type, data)` of every message to `client` inside the block, from another thread.

    Gives whether the server lets us listen: without it the job runs as well.
    """
    try:
        stream, close = server.listen(f"/ws?clientId={client}")
    except (OSError, Refused, ValueError):
        yield False
        return
    thread = threading.Thread(target=_pass_on, args=(stream, hear), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        close()
        thread.join(timeout=5)


def _pass_on(stream: BinaryIO, hear: Callable[[str, dict[str, Any]], None]) -> None:
    # Closed by us or by the server, or in a form that we do not know: nothing more to hear.
    with suppress(OSError, EOFError, ValueError, LookupError, TypeError):
        for text in messages(stream):
            message = json.loads(text)
            hear(message["type"], message.get("data") or {})


def messages(stream: BinaryIO) -> Iterator[bytes]:
    """The text messages of a server; binary ones (previews) are passed over. Raises EOFError where it breaks off."""
    parts, kind = b"", 0
    while True:
        first, second = _read(stream, 2)
        size = second & 0x7F
        content = _read(stream, int.from_bytes(_read(stream, SIZES[size]), "big") if size in SIZES else size)
        opcode = first & 0x0F
        if opcode == CLOSE:
            return
        if opcode > CLOSE:
            continue
        kind, parts = (opcode, content) if opcode else (kind, parts + content)  # 0: goes on with the message
        if first & LAST and kind == TEXT:
            yield parts


def _read(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
