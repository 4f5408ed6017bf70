"""A node's schema as ComfyUI's interface reads it: the entry of `/object_info` (packaging.md 3.4, contract test 1).

The converter between workflow formats and the workflow linter read this too, so they work without ComfyUI.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from . import io
from .schema import made_up_id, schema_of

_V1_NAMES = {"force_input": "forceInput"}
_NOT_OPTIONS = ("id", "optional", "options", "template", "upload")


def info(node: type[io.ComfyNode]) -> dict[str, Any]:
    """Exactly what `GET_NODE_INFO_V1` of the same class gives in ComfyUI, less `python_module` (a matter of the host).

    JSON-able; an input is `[type, options]` under `input["required"]` or `input["optional"]`.
    """
    schema = schema_of(node)
    inputs = _input_groups(schema.inputs)
    if schema.hidden:
        inputs["hidden"] = {hidden.name: [hidden.value] for hidden in schema.hidden}
    return {
        "input": inputs,
        "input_order": {group: list(entries) for group, entries in inputs.items()},
        "output": [output.io_type for output in schema.outputs],
        "output_is_list": [False for _ in schema.outputs],
        "output_name": [_shown_name(index, output) for index, output in enumerate(schema.outputs)],
        "output_tooltips": [output.tooltip or None for output in schema.outputs],
        "name": schema.node_id,
        "display_name": schema.display_name,
        "category": schema.category,
        "description": schema.description,
        "search_aliases": schema.search_aliases or None,
        "output_node": schema.is_output_node,
        "deprecated": schema.is_deprecated,
        "experimental": schema.is_experimental,
        **_UNUSED,
    }


# Parts of ComfyUI's entry that no node of ours uses.
_UNUSED: dict[str, Any] = {
    "is_input_list": False,
    "output_matchtypes": None,
    "dev_only": False,
    "api_node": False,
    "price_badge": None,
    "essentials_category": None,
    "has_intermediate_output": False,
}


def _input_groups(inputs: Iterable[io.BaseInput]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {"required": {}}
    for given in inputs:
        group = groups.setdefault("optional" if given.optional else "required", {})
        group[given.id] = [given.io_type, _options(given)]
    return groups


def _options(given: io.BaseInput) -> dict[str, Any]:
    named = {field.name: getattr(given, field.name) for field in fields(given) if field.name not in _NOT_OPTIONS}
    options = {_V1_NAMES.get(name, name): value for name, value in named.items() if value is not None}
    if isinstance(given, io.Combo.Input):
        options |= {"options": list(given.options), "multiselect": False}
        options |= {given.upload.value: True} if given.upload else {}
    elif isinstance(given, io.DynamicCombo.Input):
        options["options"] = [{"key": choice.key, "inputs": _input_groups(choice.inputs)} for choice in given.options]
    elif isinstance(given, io.Autogrow.Input):
        template = given.template
        how: dict[str, Any] = {"names": list(template.names)}
        if isinstance(template, io.Autogrow.TemplatePrefix):
            how = {"prefix": template.prefix, "max": template.max}
        options["template"] = {"input": _input_groups([template.input]), **how, "min": template.min}
    return options


def _shown_name(index: int, output: io.BaseOutput) -> str:
    """Display name, else the id that the node's author gave (a made-up one is never shown), else the type."""
    given_id = None if output.id == made_up_id(index, output) else output.id
    return output.display_name or given_id or output.io_type
