"""Configurations to draw."""

from __future__ import annotations

from vimage.model import Configuration, HostBridge, Link, MacFrom, Vimage


def link(index: int, vimage: str, parent: str, *addresses: str, host_only: bool = False,
         mac: str | None = None, mac_from: MacFrom = MacFrom.DERIVED) -> Link:
    return Link(index, parent, host_only, f"ng{index}_{vimage}"[:15], mac_from,
                mac or (f"02:00:5e:00:{len(vimage):02x}:{index:02x}"
                        if mac_from is MacFrom.DERIVED else None), addresses)


def configuration(*vimages: Vimage, bridges: tuple[HostBridge, ...] = ()) -> Configuration:
    return Configuration(list=tuple(v.name for v in vimages),
                         vimages={v.name: v for v in vimages},
                         bridges={b.name: b for b in bridges})


#: One of everything.
MIXED = configuration(
    Vimage("vj1", "/usr/jail/vj1", "vj1",
           links=(link(0, "vj1", "igb0"), link(1, "vj1", "igb0"))),
    Vimage("router", "/usr/jail/router", "router.example.org", vnets=("igb1",),
           links=(link(0, "router", "lan0", "10.9.0.2/24", "2001:db8:9::2/64", host_only=True),
                  link(1, "router", "igb0.100", mac_from=MacFrom.PARENT),
                  link(3, "router", "igb0", mac_from=MacFrom.KERNEL))),
    Vimage("alone", "/usr/jail/alone", "alone"),
    bridges=(HostBridge("lan0", "02:00:5e:00:53:01", ("10.9.0.1/24", "2001:db8:9::1/64")),
             HostBridge("unused0", "02:00:5e:00:53:02")),
)


def many(vimages: int, bridges: int) -> Configuration:
    """A big host."""
    return configuration(*(
        Vimage(f"vj{i}", "/usr/jail/shared", f"vj{i}", links=tuple(
            link(k, f"vj{i}", f"em{(i // 3 + k) % bridges}", f"10.9.{i}.{k + 1}/16")
            for k in range(1 + (i % 3 == 0))))
        for i in range(vimages)))
