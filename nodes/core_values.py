"""Standalone copies of small core nodes on numbers, choices and texts; see nodes/core.py."""

from __future__ import annotations

import re
import string
from typing import Any

from .arithmetic import result_of
from .host.api import io

MODES = ("First Match", "All Matches", "First Group", "All Groups")


class ComfyMathExpression(io.ComfyNode):
    """A formula on the numbers a, b, … that are linked."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        values = io.Autogrow.TemplateNames(io.AnyType.Input("value"), names=list(string.ascii_lowercase), min=1)
        return io.Schema(
            node_id="ComfyMathExpression",
            display_name="Math Expression",
            category="utilities",
            inputs=[io.String.Input("expression", default="a + b"), io.Autogrow.Input("values", template=values)],
            outputs=[io.Float.Output("FLOAT"), io.Int.Output("INT"), io.Boolean.Output("BOOL")],
        )

    @classmethod
    def execute(cls, expression: str, values: dict[str, Any]) -> io.NodeOutput:
        result = result_of(expression, values)
        return io.NodeOutput(float(result), int(result), bool(result))


class ComfySwitchNode(io.ComfyNode):
    """One of two values of any type."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ComfySwitchNode",
            display_name="Switch",
            category="logic",
            inputs=[io.Boolean.Input("switch", default=False), *map(io.AnyType.Input, ("on_false", "on_true"))],
            outputs=[io.AnyType.Output("output")],
        )

    @classmethod
    def execute(cls, switch: bool, on_false: Any, on_true: Any) -> io.NodeOutput:
        return io.NodeOutput(on_true if switch else on_false)


class RegexExtract(io.ComfyNode):
    """The parts of a text that fit a pattern, a line each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        flags = {"case_insensitive": True, "multiline": False, "dotall": False}
        return io.Schema(
            node_id="RegexExtract",
            display_name="Extract Text",
            category="text",
            inputs=[
                io.String.Input("string"),
                io.String.Input("regex_pattern"),
                io.Combo.Input("mode", options=list(MODES), default=MODES[0]),
                *(io.Boolean.Input(name, default=value) for name, value in flags.items()),
                io.Int.Input("group_index", default=1, min=0, max=100),
            ],
            outputs=[io.String.Output("STRING")],
        )

    @classmethod
    def execute(cls, mode: str, group_index: int, **given: Any) -> io.NodeOutput:
        """Nothing found, or a pattern that is none: an empty text."""
        names = {"case_insensitive": re.IGNORECASE, "multiline": re.MULTILINE, "dotall": re.DOTALL}
        flags = re.RegexFlag(0)
        for name, flag in names.items():
            flags |= flag if given[name] else re.RegexFlag(0)
        try:
            pattern = re.compile(given["regex_pattern"], flags)
        except re.error:
            return io.NodeOutput("")
        wanted = group_index if "Group" in mode else min(pattern.groups, 1) if mode == "All Matches" else 0
        if wanted > pattern.groups or (mode == "All Groups" and not pattern.groups):
            return io.NodeOutput("")
        texts = [match.group(wanted) or "" for match in pattern.finditer(given["string"])]
        return io.NodeOutput("\n".join(texts if mode.startswith("All") else texts[:1]))


VALUE_NODES: list[type[io.ComfyNode]] = [ComfyMathExpression, ComfySwitchNode, RegexExtract]
