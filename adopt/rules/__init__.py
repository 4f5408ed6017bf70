"""What the table cannot say by a template: functions by name, (rewriter, node, its row)."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Node
from ..rewrite import Rewriter
from ..table import Row
from . import guiders, latents, loaders, pictures, samplers, saving

Rule = Callable[[Rewriter, Node, Row], None]
RULES: dict[str, Rule] = {
    **loaders.RULES,
    **latents.RULES,
    **pictures.RULES,
    **guiders.RULES,
    **samplers.RULES,
    **saving.RULES,
}
