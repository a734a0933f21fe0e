"""The network as a graph for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from vimage.graph.topology import Bridge, Guest, Topology, details, printable

HEADER = """\
graph vimage {
\trankdir=LR; ranksep=0.8; nodesep=0.15; compound=true; bgcolor=transparent
\tnode [fontname="Helvetica,sans-serif" fontsize=11 height=0.3 style="filled,rounded" shape=box \
color="#64748b" fillcolor="#f8fafc"]
\tedge [color="#64748b"]
\tgraph [fontname="Helvetica,sans-serif" fontsize=12]
"""

#: The frame of a vimage by its state.
FRAME = {"running": "#16a34a", "failed": "#dc2626", "stopped": "#94a3b8"}


def quote(text: str) -> str:
    """A string of the DOT language that is shown as it is, line by line."""
    lines = (printable(line) for line in text.split("\n"))
    return '"' + "\\n".join(
        line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def render(topology: Topology) -> str:
    """The graph in the DOT language."""
    lines = [HEADER.rstrip("\n")]
    bridges = {bridge.parent: f"b{i}" for i, bridge in enumerate(topology.bridges)}
    for i, bridge in enumerate(topology.bridges):
        lines += _bridge(i, bridge)
    for i, guest in enumerate(topology.guests):
        lines += _guest(i, guest, bridges)
    return "\n".join([*lines, "}", ""])


def _bridge(i: int, bridge: Bridge) -> Iterator[str]:
    label = "\n".join([bridge.parent, *bridge.addresses])
    tooltip = details(f"{bridge.parent}: interface of the host", bridge.mac, *bridge.addresses)
    color = "#ccfbf1" if bridge.host_only else "#dbeafe"
    yield f'\tp{i} [label={quote(label)} tooltip={quote(tooltip)} fillcolor="{color}"]'
    yield (f"\tb{i} [label={quote(bridge.node)} tooltip={quote(f'{bridge.node}: ng_bridge')} "
           f'shape=hexagon style=filled fillcolor="{color}"]')
    yield f"\tp{i} -- b{i} [penwidth=2]"


def _guest(i: int, guest: Guest, bridges: dict[str, str]) -> Iterator[str]:
    yield f"\tsubgraph cluster_{i} {{"
    yield (f"\t\tlabel={quote(guest.name)} labeljust=l style=rounded penwidth=1.5 "
           f'color="{FRAME.get(guest.state, "#64748b")}"')
    yield f"\t\ttooltip={quote(details(guest.name, guest.hostname, guest.state))}"
    edges = []
    for j, cable in enumerate(guest.cables):
        label = "\n".join([cable.name, *cable.addresses])
        tooltip = details(cable.name, cable.mac, *cable.addresses)
        yield f"\t\ti{i}_{j} [label={quote(label)} tooltip={quote(tooltip)}]"
        if cable.parent in bridges:
            edges.append(f"\t{bridges[cable.parent]} -- i{i}_{j}")
    for j, name in enumerate(guest.vnets):
        tooltip = f"{name}: whole interface, moved in"
        yield (f"\t\tw{i}_{j} [label={quote(name)} tooltip={quote(tooltip)} "
               f'style="filled,rounded,bold" fillcolor="#fef3c7"]')
    if not guest.cables and not guest.vnets:
        yield f'\t\te{i} [label="no interface" shape=plaintext style=""]'
    yield "\t}"
    yield from edges
