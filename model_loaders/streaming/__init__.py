"""A transformer whose blocks come to the device one after the other (spec page memory, section 5)."""

from .network import StreamedTransformer, streamed_transformer

__all__ = ["StreamedTransformer", "streamed_transformer"]
