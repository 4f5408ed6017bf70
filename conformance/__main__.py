"""`python -m openltx.conformance …` is `openltx conformance …`."""

import sys

from ..cli import main

if __name__ == "__main__":
    raise SystemExit(main(["conformance", *sys.argv[1:]]))
