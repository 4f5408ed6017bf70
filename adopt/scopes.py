"""The canvas and every subgraph on it as scopes; where a link really comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .graph import MOST_OUTPUTS, Wire
from .table import rows
from .widgets import widgets_of

Entry = Mapping[str, Any]
MUTED, BYPASSED = 2, 4
INPUTS, OUTPUTS = -10, -20  # ids of a subgraph's own input and output node
MOST_NODES = 20_000
DEEPEST = 64  # links in a row, and subgraphs in each other: more is a circle
SETTER, GETTER = ("SetNode", "easy setNode"), ("GetNode", "easy getNode")
REROUTES = ("Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss")


@dataclass(frozen=True)
class Const:
    """A value that comes over a link; not known where the node's own value stands."""

    value: Any = None
    known: bool = True


@dataclass(kw_only=True)
class Scope:
    """One canvas. instance: the node that shows it on the canvas above (`parent`); None for the top one."""

    nodes: dict[Any, Entry]
    links: dict[Any, tuple[Any, Any, Any, Any]]  # origin, its output, target, its input
    definition: Entry
    inner: dict[Any, Scope] = field(default_factory=dict)
    parent: Scope | None = None
    instance: Entry | None = None
    prefix: str = ""
    promoted: dict[str, Any] = field(default_factory=dict)  # by name of a subgraph input
    given: dict[str, dict[str, Any]] = field(default_factory=dict)  # by inner node id, widget name

    def global_id(self, node_id: Any) -> str:
        return f"{self.prefix}{node_id}"

    def overrides(self, node_id: Any) -> dict[str, Any]:
        """Values that the instance's promoted widgets have for an inner node."""
        return dict(self.given.get(str(node_id), {}))


def list_of(entry: Entry, name: str) -> list[Entry]:
    """The objects in a list of a file; none where it is something else."""
    found = entry.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def mode_of(entry: Entry) -> int:
    mode = entry.get("mode", 0)
    return mode if isinstance(mode, int) else 0


def is_virtual(entry: Entry, scope: Scope) -> bool:
    """Whether a node exists in the front end only, or stands for a subgraph."""
    kind = entry.get("type")
    row = rows().get(str(kind))
    front = row is not None and row.pack == "front_end"
    return front or entry["id"] in scope.inner


def scopes_of(found: Entry, remarks: list[str]) -> list[Scope]:
    """The canvas, then what lies inside its subgraphs; those of muted and bypassed ones are not entered."""
    definitions = found.get("definitions")
    known = list_of(definitions, "subgraphs") if isinstance(definitions, dict) else []
    top = _scope(found, remarks)
    scopes: list[Scope] = []
    count = 0
    for scope in _entered(top, {str(one.get("id")): one for one in known}, remarks, 0):
        count += len(scope.nodes)
        if count > MOST_NODES and scopes:  # subgraphs of subgraphs grow without end
            remarks.append(f"more than {MOST_NODES} nodes with those of its subgraphs; the rest is not read")
            break
        scopes.append(scope)
    return scopes


def _entered(scope: Scope, known: Mapping[str, Entry], remarks: list[str], depth: int) -> Iterator[Scope]:
    inner = [entry for entry in scope.nodes.values() if str(entry.get("type")) in known]
    for entry in inner:
        if depth >= DEEPEST:
            remarks.append(f"subgraph {entry.get('type')}: it contains itself; left out")
            continue
        name, mode = _name(entry, known[str(entry["type"])]), mode_of(entry)
        child = _scope(known[str(entry["type"])], remarks)
        child.parent, child.instance, child.prefix = scope, entry, f"{scope.prefix}{entry['id']}:"
        child.promoted, child.given = _promoted(entry, child)
        scope.inner[entry["id"]] = child
        if mode in (MUTED, BYPASSED):
            remarks.append(f"{name}: {'muted' if mode == MUTED else 'bypassed'} in the file; left out")
    yield scope
    for entry in inner:
        if entry["id"] in scope.inner and mode_of(entry) not in (MUTED, BYPASSED):
            yield from _entered(scope.inner[entry["id"]], known, remarks, depth + 1)


def _name(entry: Entry, definition: Entry) -> str:
    return f"subgraph {entry.get('title') or definition.get('name') or 'without name'} (node {entry['id']})"


def _scope(found: Entry, remarks: list[str]) -> Scope:
    nodes = {entry["id"]: entry for entry in list_of(found, "nodes") if _hashable(entry.get("id"))}
    links, broken = {}, 0
    listed = found.get("links")
    for row in listed if isinstance(listed, list) else []:
        link = _link(row)
        if link is None:
            broken += 1
        else:
            links[link[0]] = link[1:]
    if broken:
        remarks.append(f"{broken} links of the file cannot be read; left out")
    return Scope(nodes=nodes, links=links, definition=found)


def _hashable(node_id: Any) -> bool:
    return isinstance(node_id, (int, str)) and not isinstance(node_id, bool)


def _link(row: Any) -> tuple[Any, Any, Any, Any, Any] | None:
    """Its id, origin, output, target, input."""
    if isinstance(row, dict):
        parts = [row.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    else:
        parts = list(row[:5]) if isinstance(row, list) and len(row) >= 5 else []
    if len(parts) != 5 or not all(_hashable(part) for part in parts):
        return None
    if not all(isinstance(slot, int) and 0 <= slot < MOST_OUTPUTS for slot in (parts[2], parts[4])):
        return None
    return tuple(parts)  # type: ignore[return-value]


def _promoted(instance: Entry, scope: Scope) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Values of the widgets that an instance shows: by name of the subgraph's input, and by inner node and widget."""
    given: dict[str, dict[str, Any]] = {}
    listed = (
        (instance.get("properties") or {}).get("proxyWidgets") if isinstance(instance.get("properties"), dict) else []
    )
    proxies = [row for row in listed or [] if isinstance(row, list) and len(row) >= 2]
    values = instance.get("widgets_values")
    named = instance.get("widgets_values_named")
    if isinstance(named, dict) and named:
        return dict(named), given
    if not isinstance(values, list):
        return {}, given
    names = [str(one.get("name")) for one in list_of(scope.definition, "inputs") if _is_widget(one, scope)]
    if proxies and len(proxies) == len(values):
        promoted = {}
        for (inner, widget, *_), value in zip(proxies, values, strict=True):
            if str(inner) in ("-1", str(INPUTS)):
                promoted[str(widget)] = value
            else:
                given.setdefault(str(inner), {})[str(widget)] = value
        return promoted, given
    if len(names) == len(values):
        return dict(zip(names, values, strict=True)), given
    return widgets_of(instance, None).named, given


def _is_widget(declared: Entry, scope: Scope) -> bool:
    """Whether a subgraph's input leads to a widget."""
    ids = declared.get("linkIds")
    for link in ids if isinstance(ids, list) else []:
        _, _, target, slot = scope.links.get(link, (None,) * 4) if _hashable(link) else (None,) * 4
        sockets = list_of(scope.nodes.get(target, {}), "inputs")
        if isinstance(slot, int) and 0 <= slot < len(sockets) and sockets[slot].get("widget"):
            return True
    return False


def source_of(scope: Scope, link: Any, depth: int = 0) -> Wire | Const | str | None:
    """What comes over a link: a wire, a value, nothing (None: switched off), or why it is broken, as a sentence."""
    if depth > DEEPEST:
        return "comes out of a circle of links"
    if not _hashable(link) or link not in scope.links:
        return f"has a link {link} that the file does not hold"
    origin, slot, _, _ = scope.links[link]
    if origin == INPUTS and scope.parent is not None:
        return _from_outside(scope, slot, depth)
    entry = scope.nodes.get(origin)
    if entry is None:
        return f"comes from node {origin}, which is not there"
    return _from_node(scope, entry, slot, depth)


def _from_node(scope: Scope, entry: Entry, slot: int, depth: int) -> Wire | Const | str | None:
    kind, mode = entry.get("type"), mode_of(entry)
    if mode == MUTED:
        return "comes from a muted node"
    if kind in REROUTES or kind in SETTER:
        return _through(scope, list_of(entry, "inputs")[:1], depth)
    if kind in GETTER:
        return _from_getter(scope, entry, depth)
    if mode == BYPASSED:
        return _through(scope, _fitting(entry, slot), depth)
    if kind == "PrimitiveNode":
        values = entry.get("widgets_values")
        return Const(values[0]) if isinstance(values, list) and values else Const(known=False)
    if entry["id"] in scope.inner:
        return _from_inside(scope.inner[entry["id"]], slot, depth)
    return Wire(scope.global_id(entry["id"]), slot)


def _through(scope: Scope, sockets: list[Entry], depth: int) -> Wire | Const | str | None:
    for socket in sockets:
        if socket.get("link") is not None:
            return source_of(scope, socket["link"], depth + 1)
    return "comes from a node that passes nothing on"


def _fitting(entry: Entry, slot: int) -> list[Entry]:
    """The inputs that a bypassed node may pass on: of the output's place, then any of its type."""
    sockets, outputs = list_of(entry, "inputs"), list_of(entry, "outputs")
    if not 0 <= slot < len(outputs):
        return []
    kind = outputs[slot].get("type")
    return [one for one in [*sockets[slot : slot + 1], *sockets] if one.get("type") == kind]


def _from_getter(scope: Scope, entry: Entry, depth: int) -> Wire | Const | str | None:
    """A name given by a set node of this canvas or one above."""
    wanted = _first_value(entry)
    place: Scope | None = scope
    while place is not None:
        for other in place.nodes.values():
            if other.get("type") in SETTER and _first_value(other) == wanted:
                return _through(place, list_of(other, "inputs")[:1], depth)
        place = place.parent
    return f"asks for the name {wanted!r}, which no set node gives"


def _first_value(entry: Entry) -> Any:
    values = entry.get("widgets_values")
    if isinstance(values, dict):
        return next(iter(values.values()), None)
    return values[0] if isinstance(values, list) and values else None


def _from_outside(scope: Scope, slot: int, depth: int) -> Wire | Const | str | None:
    """What the instance is given: over its own link, or by its widget."""
    assert scope.parent is not None
    assert scope.instance is not None
    declared = list_of(scope.definition, "inputs")
    if not 0 <= slot < len(declared):
        return f"comes from input {slot} of its subgraph, which is not there"
    name = str(declared[slot].get("name"))
    for socket in list_of(scope.instance, "inputs"):
        if socket.get("name") == name and socket.get("link") is not None:
            return source_of(scope.parent, socket["link"], depth + 1)
    return Const(scope.promoted[name]) if name in scope.promoted else Const(known=False)


def _from_inside(scope: Scope, slot: int, depth: int) -> Wire | Const | str | None:
    for link, (_, _, target, place) in scope.links.items():
        if target == OUTPUTS and place == slot:
            return source_of(scope, link, depth + 1)
    kinds = [one.get("type") for one in list_of(scope.definition, "outputs")]
    loose = [
        (entry, place)
        for entry in scope.nodes.values()
        for place, output in enumerate(list_of(entry, "outputs"))
        if slot < len(kinds) and output.get("type") == kinds[slot] and not _taken(scope, entry["id"], place)
    ]
    if len(loose) == 1:  # some published templates have lost this link; only one node can be meant
        return _from_node(scope, *loose[0], depth + 1)
    return f"comes from output {slot} of a subgraph, to which nothing is connected"


def _taken(scope: Scope, node_id: Any, slot: int) -> bool:
    return any(origin == node_id and place == slot for origin, place, _, _ in scope.links.values())
