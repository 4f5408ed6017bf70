"""One node of an old graph after the other: by its rule, by its template, or kept."""

from __future__ import annotations

from .graph import Node
from .rewrite import Rewriter, keep, told
from .rules import RULES
from .table import Row, rows

CORE = "comfy-core"  # what files call ComfyUI's own nodes


def rewrite(rewriter: Rewriter, node: Node) -> None:
    """One node of the old graph, those before it being done. What its values make impossible is said of it alone."""
    try:
        _rewrite(rewriter, node)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        keep(rewriter, node, f"its values cannot be used ({error}); open it in ComfyUI and set them", kind="unmapped")


def _rewrite(rewriter: Rewriter, node: Node) -> None:
    row = rows().get(node.type)
    if node.type == "PreviewAny" and not isinstance(rewriter.input(node, "source"), list):
        rewriter.report.add("out", node.name, note="it showed a value of the file itself")
    elif node.id in rewriter.foreign:
        keep(rewriter, node, (row and row.note) or "it works on another model")
    elif node.type in rewriter.registry and (row is None or row.keep):
        keep(rewriter, node, None if row is None else row.note)
    elif row is None:
        _unknown(rewriter, node)
    elif row.keep and not row.lost:
        keep(rewriter, node, row.note)
    elif row.keep:
        keep(rewriter, node, row.lost, kind="unmapped")
    elif row.rule is not None:
        RULES[row.rule](rewriter, node, row)
    else:
        _by_template(rewriter, node, row)


def _unknown(rewriter: Rewriter, node: Node) -> None:
    """Files of newer front ends say which pack a node is of."""
    if node.pack == CORE:
        keep(rewriter, node, "a node of ComfyUI itself")
        return
    own = f"its own pack, {node.pack}" if node.pack else "its own pack"
    keep(rewriter, node, f"the table does not know it; it needs {own}", kind="unmapped")


def _by_template(rewriter: Rewriter, node: Node, row: Row) -> None:
    parts: dict[str, str] = {}
    for part, kind, template in row.make:
        inputs = {name: rewriter.filled(node, value, parts) for name, value in template.items()}
        parts[part] = rewriter.add(kind, inputs, node)
    rewriter.give(node, [rewriter.filled(node, value, parts) for value in row.give])
    if parts:
        rewriter.made[node.id] = list(parts.values())[-1]
    told(rewriter, node, row, [rewriter.prompt[part]["class_type"] for part in parts.values()])
