"""What exactly is fetched, where it goes, and whether what came is what was published."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..catalogue import PublishedFile, files_of
from .hub import DownloadError, OnBytes, endpoint, hub, one_line, transfer

STAGING = ".openltx-download"
CHUNK = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file to fetch. bytes, sha256, revision, licence: as the hub says; before it was asked, as the catalogue does.

    present: the target is there already, as far as its size tells.
    """

    file: PublishedFile
    target: Path
    bytes: int | None
    licence: str
    sha256: str | None = None
    revision: str | None = None
    present: bool = False

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "target": str(self.target), "page": self.file.page}

    def line(self) -> str:
        """For people: size, file, terms, target."""
        size = "size not known" if self.bytes is None else f"{self.bytes / 1e9:.3f} GB"
        state = "already there" if self.present else f"into {self.target}"
        terms = f"licence: {self.licence}, {self.file.page}{' (terms to accept first)' if self.file.gated else ''}"
        return f"{self.file.repository}: {self.file.path}, {size}, {state}\n  {terms}"


def listed(name: str, folders: Mapping[str, Path]) -> list[Item]:
    """What `name` would fetch, by the catalogue alone: nothing is asked of anyone. folders: {role: where it goes}.

    Raises ValueError, one line, for an unknown name.
    """
    return [_item(file, folders[file.role] / file.name) for file in files_of(name)]


def _item(file: PublishedFile, target: Path) -> Item:
    return Item(file=file, target=target, bytes=file.bytes, licence=file.terms, present=target.is_file())


def asked(items: Sequence[Item]) -> list[Item]:
    """The same with exact sizes, hashes, revisions and licences from the hub, which also says whether it hands out.

    Raises DownloadError, one line: offline mode, no connection, terms that are not accepted, a file that is gone.
    """
    _refuse_offline(items)
    about = {repository: _about(repository) for repository in dict.fromkeys(item.file.repository for item in items)}
    return [_as_published(item, about[item.file.repository]) for item in items]


def fetch(items: Sequence[Item], *, on_bytes: OnBytes | None = None) -> list[Path]:
    """Downloads what is not present, checks hash and size, and puts it in its place; the paths of all items.

    on_bytes: told of every piece; what it raises ends the download, which can go on later. Raises DownloadError, one
    line: what `asked` raises, a full disk, a broken connection, a wrong hash (that piece is thrown away).
    """
    _refuse_full_disk(items)
    for item in items:
        if not item.present:
            _fetch_one(item, on_bytes)
    return [item.target for item in items]


def _fetch_one(item: Item, on_bytes: OnBytes | None) -> None:
    """The file grows beside its target, so that moving it there is one step, under a name that its content sets."""
    part = item.target.parent / STAGING / f"{item.file.name}.{(item.sha256 or item.revision or 'x')[:16]}"
    part.parent.mkdir(parents=True, exist_ok=True)
    with one_line(item.file):
        transfer(item.file, item.revision, part, size=item.bytes, on_bytes=on_bytes)
    _refuse_damage(item, part)
    os.replace(part, item.target)
    _remove_empty(part.parent)


def _refuse_damage(item: Item, part: Path) -> None:
    """Size, then hash; the piece is removed where one is wrong, so that the next try does not start from it."""
    rows: list[tuple[str, object, Callable[[], object]]] = [
        ("bytes", item.bytes, lambda: part.stat().st_size),
        ("sha256", item.sha256, lambda: _sha256(part)),
    ]
    for what, expected, measure in rows:
        found = expected if expected is None else measure()
        if found != expected:
            part.unlink()
            _remove_empty(part.parent)
            raise DownloadError(
                f"{item.file.path}: expected {what} {expected}, found {found}; what came was thrown away, run the same "
                "command again"
            )


def _remove_empty(folder: Path) -> None:
    """Not while other files are growing there."""
    if not any(folder.iterdir()):
        folder.rmdir()


def _about(repository: str) -> Any:
    api = hub().HfApi(endpoint=endpoint())
    with one_line(PublishedFile(repository=repository, path=repository, role="")):
        api.auth_check(repository)
        return api.model_info(repository, files_metadata=True)


def _as_published(item: Item, about: Any) -> Item:
    row = next((row for row in about.siblings or () if row.rfilename == item.file.path), None)
    if row is None:
        raise DownloadError(f"{item.file.path}: no longer in {item.file.repository}; look at {item.file.page}")
    size = row.size if row.lfs is None else row.lfs.size
    present = item.target.is_file()
    if present and size is not None and item.target.stat().st_size != size:
        raise DownloadError(
            f"{item.target}: expected {size} bytes as published, found {item.target.stat().st_size}; move it away first"
        )
    sha256 = None if row.lfs is None else row.lfs.sha256
    licence = _licence(about) or item.licence
    return replace(item, bytes=size, sha256=sha256, revision=about.sha, licence=licence, present=present)


def _licence(about: Any) -> str | None:
    """As the model's page names it."""
    card = about.card_data
    named = None if card is None else card.get("license_name") or card.get("license")
    return None if named is None else str(named)


def _refuse_offline(items: Sequence[Item]) -> None:
    if hub().constants.HF_HUB_OFFLINE:
        by_hand = ", ".join(f"{item.file.page} {item.file.path} into {item.target.parent}" for item in items)
        raise DownloadError(f"offline mode is on (HF_HUB_OFFLINE); unset it, or fetch these by hand: {by_hand}")


def _refuse_full_disk(items: Sequence[Item]) -> None:
    """What has arrived of an earlier try counts as still to come: a few gigabytes of caution."""
    disks: dict[int, list[Item]] = {}
    for item in items:
        disks.setdefault(_existing(item.target).stat().st_dev, []).append(item)
    for on_disk in disks.values():
        needed = sum(item.bytes or 0 for item in on_disk if not item.present)
        free = shutil.disk_usage(_existing(on_disk[0].target)).free
        if needed > free:
            raise DownloadError(
                f"{on_disk[0].target.parent}: expected {needed / 1e9:.1f} GB of free space, found {free / 1e9:.1f}; "
                "make room, or give another folder"
            )


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
