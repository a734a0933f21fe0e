"""The network of the vimages as a picture: DOT, Mermaid or SVG.

``topology`` says what there is to draw, ``render`` draws it.  Both are pure.
"""

from __future__ import annotations

from collections.abc import Collection

from vimage.configuration import names
from vimage.graph import dot, mermaid, svg
from vimage.graph.topology import Bridge, Cable, Guest, Topology
from vimage.model import Configuration, Link, MacFrom, Vimage

__all__ = ["FORMATS", "Bridge", "Cable", "Guest", "Topology", "render", "topology"]

FORMATS = {"dot": dot.render, "mermaid": mermaid.render, "svg": svg.render}


def render(topology: Topology, format: str) -> str:
    """The picture in one of ``FORMATS``, with a newline at its end."""
    return FORMATS[format](topology)


def topology(configuration: Configuration, *, only: Collection[str] | None = None,
             running: Collection[str] | None = None) -> Topology:
    """What there is to draw of ``configuration``: the vimages of ``only``, or those of
    ``vimage_list`` and then the others, and the bridges they are on.  ``running`` names
    the vimages that run; without it nothing is said about that."""
    order = [n for n in configuration.list if n in configuration.vimages]
    order += [n for n in configuration.vimages if n not in order]
    chosen = [configuration.vimages[n] for n in order if only is None or n in only]
    return Topology(
        _bridges(configuration, chosen, everything=only is None),
        tuple(_guest(vimage, running) for vimage in chosen))


def _bridges(configuration: Configuration, vimages: list[Vimage],
             everything: bool) -> tuple[Bridge, ...]:
    """The bridges that have a link, in the order of the vimages; host-only ones last."""
    parents = dict.fromkeys(
        link.parent for vimage in vimages for link in vimage.links if not link.host_only)
    used = {link.parent for vimage in vimages for link in vimage.links if link.host_only}
    outside = [Bridge(parent, names.bridge_node(parent)) for parent in parents]
    inside = [Bridge(b.name, names.bridge_node(b.name), host_only=True, mac=b.mac,
                     addresses=b.addresses)
              for b in configuration.bridges.values() if everything or b.name in used]
    return (*outside, *inside)


def _guest(vimage: Vimage, running: Collection[str] | None) -> Guest:
    state = "" if running is None else "running" if vimage.name in running else "stopped"
    return Guest(vimage.name, vimage.hostname, state, tuple(map(_cable, vimage.links)),
                 vimage.vnets)


def _cable(link: Link) -> Cable:
    words = {MacFrom.PARENT: f"MAC of {link.parent}", MacFrom.KERNEL: "MAC of the kernel"}
    return Cable(link.name, link.parent, link.mac or words.get(link.mac_from, ""),
                 link.addresses)
