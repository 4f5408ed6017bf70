"""Other people's workflows made ours: read (any form), flatten, rewrite by a table, lay out, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..nodes.host.standalone.schema import Registry
from .constants import folded
from .dispatch import rewrite
from .graph import Found, Graph, Node, in_order
from .owners import foreign_nodes
from .read import read_file, read_workflow
from .report import Report
from .rewrite import Prompt, Rewriter
from .stand_in import with_stand_ins
from .summary import preset_of, standalone_reason
from .tidy import finish
from .write import api_prompt, ui_file

__all__ = ["Adopted", "adopt", "read_file", "read_workflow"]


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """prompt: API format. ui: UI format. source: the old graph, flat. origins: old node ids by the new ones."""

    prompt: Prompt
    ui: dict[str, Any]
    report: Report
    source: Graph
    origins: dict[str, str]


def adopt(found: Found, registry: Registry, *, name: str) -> Adopted:
    """Whatever is wrong with the file is in the report, not an error.

    registry: our nodes and core's that the built-in host has; name: what the new workflow's id is made from.
    """
    report = Report()
    for remark in found.remarks:
        report.remark(remark)
    graph, used = folded(found.graph)
    for constant, count in used.items():
        places = "1 place" if count == 1 else f"{count} places"
        report.add("replaced", constant, f"its value in {places}")
    rewriter = Rewriter(source=graph, registry=registry, report=report, foreign=foreign_nodes(graph))
    nodes, circle = in_order(graph)
    if circle:
        report.remark(f"nodes {', '.join(circle)} feed each other in a circle; that link is left open")
    for node in nodes:
        rewrite(rewriter, node)
    finish(rewriter)
    for remark in found.remarks:
        if remark.endswith("left out"):
            report.add("out", remark.partition(": ")[0], note=remark.partition(": ")[2])
    report.remarks = [remark for remark in report.remarks if not remark.endswith("left out")]
    return _result(rewriter, name)


def _result(rewriter: Rewriter, name: str) -> Adopted:
    prompt, numbers = api_prompt(rewriter.prompt)
    origins = {numbers[new]: old for old, new in rewriter.made.items() if new in numbers}
    old: dict[str, Node] = {new: rewriter.source[one] for new, one in origins.items()}
    rewriter.report.standalone = standalone_reason(prompt, rewriter.registry)
    rewriter.report.preset = preset_of(prompt)
    stand_ins = with_stand_ins(rewriter.registry, prompt, old)
    ui = ui_file(prompt, stand_ins, old, name=name, note=rewriter.report.note(name))
    return Adopted(prompt=prompt, ui=ui, report=rewriter.report, source=rewriter.source, origins=origins)
