"""Maps the repository root to the package `openltx`; everything else is in pyproject.toml.

pyproject has no way to say "every folder with Python below these, under another prefix".
"""

from setuptools import find_packages, setup

FOLDERS = (
    *("adopt", "commands", "conformance", "media", "model_loaders", "networks", "nodes", "plan", "remote", "samplers"),
    *("shots", "training"),
)
PARTS = [f"{name}*" for name in FOLDERS]

setup(
    package_dir={"openltx": "."},
    packages=["openltx", *("openltx." + part for part in find_packages(".", include=PARTS))],
)
