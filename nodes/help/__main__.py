"""Makes the help pages and the languages of the nodes: `python -m openltx.nodes.help`."""

from __future__ import annotations

import json

from ..host.files import PACKAGE_ROOT
from ..host.standalone.schema import registry_of
from ..registry import NODES
from .locales import PHRASES, locale_files, missing, phrases, share
from .pages import page_files, stray_pages
from .troubles import with_table

README = PACKAGE_ROOT / "README.md"


def main() -> None:
    """Writes web/docs/<NodeId>.md, locales/<language>/nodeDefs.json and the README's table of errors.

    Removes pages of nodes that are gone.
    """
    registry, known = registry_of(NODES), phrases(PHRASES.read_text(encoding="utf-8"))
    for path, text in {**page_files(registry), **locale_files(registry, known)}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    for path in stray_pages(registry):
        path.unlink()
        print(f"{path}: removed; no node has this id")
    if README.is_file():  # an installed package has none
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(share(registry, known))
    for text, languages in missing(registry, known).items():
        print(f"{PHRASES.name} lacks {', '.join(languages)}: {json.dumps(text, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
