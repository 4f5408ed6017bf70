"""Layers that keep their weights as a file stores them: the standalone host's `operations` for quantised models.

`linear` is the layer, `scaled_mm` its fast path on GPUs that multiply 8-bit floats, `kitchen` that
of an optional package, `ways` says which one is taken, `namespace` is what networks take.
"""

from .linear import Recipe, StoredLinear
from .namespace import stored_operations
from .ways import tell_ways

__all__ = ["Recipe", "StoredLinear", "stored_operations", "tell_ways"]
