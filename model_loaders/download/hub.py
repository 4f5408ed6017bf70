"""One file from the hub, resumed where an earlier try ended, over whatever HTTP library huggingface_hub brings.

Its own download begins anew in every process; its session, tokens, addresses and errors serve here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..catalogue import PublishedFile

ENDPOINT = "https://huggingface.co"
AGAIN = "run the same command again, it goes on where it stopped"
PIECE = 2**20
TRIES = 5  # without a single byte between them
TIMEOUT = 30.0  # seconds without a byte

OnBytes = Callable[[int], object]


class DownloadError(ValueError):
    """Something that the user can mend, in one line."""


def endpoint() -> str:
    """Where the hub is asked for: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")


def hub() -> Any:
    """huggingface_hub, told at its import not to speak of this machine (it would also ask the hub for a list)."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub.constants
    import huggingface_hub.utils

    return huggingface_hub


def transfer(
    file: PublishedFile, revision: str | None, part: Path, *, size: int | None, on_bytes: OnBytes | None = None
) -> None:
    """Append to `part` what is missing of the file; broken connections are taken up again.

    on_bytes: told of every piece; what it raises ends the transfer. Raises whatever the HTTP library does once five
    tries in a row have brought nothing.
    """
    if size is not None and _length(part) > size:
        part.unlink()  # of something else
    failed = 0
    while size is None or _length(part) != size:
        before = _length(part)
        try:
            _append(file, revision, part, size, on_bytes)
            return
        except Exception as error:
            failed = failed + 1 if _length(part) == before else 0
            if not _transient(error) or failed == TRIES:
                raise
            time.sleep(2.0**failed / 2)


def _append(file: PublishedFile, revision: str | None, part: Path, size: int | None, on_bytes: OnBytes | None) -> None:
    from tqdm import tqdm

    start = _length(part)
    with _answer(file, revision, start) as (resumed, pieces), part.open("ab" if resumed else "wb") as out:
        start = start if resumed else 0
        with tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=file.name, disable=None) as bar:
            for piece in pieces:
                out.write(piece)
                bar.update(len(piece))
                if on_bytes is not None:
                    on_bytes(len(piece))
    if size is not None and _length(part) < size:
        raise ConnectionError(f"{_length(part)} of {size} bytes have come")


@contextmanager
def _answer(file: PublishedFile, revision: str | None, start: int) -> Iterator[tuple[bool, Iterator[bytes]]]:
    """Whether the hub goes on from `start`, and the bytes."""
    utils, hf_hub_url = hub().utils, hub().hf_hub_url
    url = hf_hub_url(file.repository, file.path, revision=revision, endpoint=endpoint())
    headers = {**utils.build_hf_headers(), "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    session: Any = utils.get_session()
    if callable(
        getattr(session, "stream", None)
    ):  # httpx: huggingface_hub from 1.0 on; tokens do not follow to other hosts
        opened = session.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT)
    else:  # requests
        opened = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    with opened as response:
        utils.hf_raise_for_status(response)
        read = response.iter_bytes if hasattr(response, "iter_bytes") else response.iter_content
        yield response.status_code == 206, read(PIECE)


def _transient(error: Exception) -> bool:
    """Whether another try may help: a broken connection, or a hub that is busy."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return of_the_network(error) if status is None else status == 429 or status >= 500


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def one_line(file: PublishedFile) -> Iterator[None]:
    """The hub's errors in our words."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise DownloadError(
            f"{file.repository}: accept the terms on {file.page}, then set a read token ('hf auth login', or HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(f"{file.repository}: no such repository, or not for you; look at {file.page}") from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(error) from error
    except EntryNotFoundError as error:
        raise DownloadError(f"{file.path}: no longer in {file.repository}; look at {file.page}") from error
    except HfHubHTTPError as error:
        raise DownloadError(f"{file.path}: {_first_line(error)}; {AGAIN}") from error
    except Exception as error:
        # Which library carries the bytes, and so what it raises, changes between versions of huggingface_hub.
        if not of_the_network(error):
            raise
        raise _unreachable(error) from error


def of_the_network(error: Exception) -> bool:
    """Not a full disk, and no mistake of ours."""
    libraries = ("httpx", "httpx2", "httpcore", "requests", "urllib3", "huggingface_hub")
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, (ConnectionError, TimeoutError)) or bool(modules & set(libraries))


def _unreachable(error: Exception) -> DownloadError:
    return DownloadError(f"{endpoint()}: the connection failed ({_first_line(error)}); {AGAIN}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
