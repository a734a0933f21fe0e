"""The network as a flowchart of Mermaid, which many web pages draw by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vimage.graph.topology import Bridge, Guest, Topology, printable

STYLES = """\
    classDef nic fill:#dbeafe,stroke:#2563eb,color:#0f172a
    classDef hostonly fill:#ccfbf1,stroke:#0d9488,color:#0f172a
    classDef whole fill:#fef3c7,stroke:#d97706,color:#0f172a
    classDef running stroke:#16a34a,stroke-width:2px
    classDef failed stroke:#dc2626,stroke-width:2px
    classDef stopped stroke:#94a3b8,stroke-dasharray:4
"""

_PLAIN = re.compile(r"[^A-Za-z0-9 _./:-]")


def text(*lines: str) -> str:
    """A quoted label, whatever is in it."""
    return '"' + "<br/>".join(
        _PLAIN.sub(lambda match: f"#{ord(match[0])};", printable(line)) for line in lines) + '"'


def render(topology: Topology) -> str:
    """The flowchart."""
    lines = ["flowchart LR"]
    bridges = {bridge.parent: f"b{i}" for i, bridge in enumerate(topology.bridges)}
    for i, bridge in enumerate(topology.bridges):
        lines += _bridge(i, bridge)
    for i, guest in enumerate(topology.guests):
        lines += _guest(i, guest, bridges)
    return "\n".join([*lines, STYLES])


def _bridge(i: int, bridge: Bridge) -> Iterator[str]:
    kind = "hostonly" if bridge.host_only else "nic"
    yield f"    p{i}[{text(bridge.parent, *bridge.addresses)}]:::{kind}"
    yield f"    b{i}{{{{{text(bridge.node)}}}}}:::{kind}"
    yield f"    p{i} === b{i}"


def _guest(i: int, guest: Guest, bridges: dict[str, str]) -> Iterator[str]:
    yield f"    subgraph g{i}[{text(guest.name)}]"
    yield "        direction LR"
    edges = []
    for j, cable in enumerate(guest.cables):
        yield f"        i{i}_{j}[{text(cable.name, *cable.addresses)}]"
        if cable.parent in bridges:
            edges.append(f"    {bridges[cable.parent]} --- i{i}_{j}")
    for j, name in enumerate(guest.vnets):
        yield f"        w{i}_{j}[{text(name, 'whole interface')}]:::whole"
    if not guest.cables and not guest.vnets:
        yield f"        e{i}[{text('no interface')}]"
    yield "    end"
    yield from edges
    if guest.state in ("running", "stopped", "failed"):
        yield f"    class g{i} {guest.state}"
