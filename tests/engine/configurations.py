"""One configuration for each kind of vimage, and a host that has what they name.

The text is rc.conf.  A configuration may hold several vimages; ROOT stands for a root
directory of the host, PARENT and OTHER for two interfaces of it.
"""

from __future__ import annotations

CONFIGURATIONS: dict[str, str] = {
    "bridge": """
        vimage_list="a"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="PARENT"
        vimage_a_boot="none"
        vimage_a_devfs_enable="NO"
        """,
    "same parent twice, copied and kernel's MAC": """
        vimage_list="a b"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="PARENT PARENT"
        vimage_b_rootdir="ROOT"
        vimage_b_bridges="=PARENT !PARENT - OTHER"
        """,
    "addresses": """
        vimage_list="a"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="PARENT"
        vimage_a_boot="none"
        vimage_a_devfs_enable="NO"
        vimage_a_addr0="192.0.2.2/24 2001:db8::2/64"
        vimage_a_defaultrouter="192.0.2.1"
        """,
    "MTU": """
        vimage_list="a"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="PARENT PARENT"
        vimage_a_boot="none"
        vimage_a_devfs_enable="NO"
        vimage_a_mtu0="1280"
        vimage_a_addr0="2001:db8::2/64"
        vimage_a_mtu1="1400"
        """,
    "whole interface": """
        vimage_list="a"
        vimage_a_rootdir="ROOT"
        vimage_a_vnets="OTHER"
        vimage_a_boot="none"
        vimage_a_devfs_enable="NO"
        """,
    "host-only bridge": """
        vimage_list="a b"
        vimage_bridge_list="lan0"
        vimage_bridge_lan0_addr="10.9.0.1/24"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="lan0"
        vimage_a_addr0="10.9.0.2/24"
        vimage_b_rootdir="ROOT"
        vimage_b_bridges="lan0 PARENT"
        """,
    "devfs, fdescfs, procfs, shared": """
        vimage_list="a b"
        vimage_boot="none"
        vimage_devfs_enable="YES"
        vimage_fdescfs_enable="YES"
        vimage_procfs_enable="YES"
        vimage_a_rootdir="ROOT"
        vimage_b_rootdir="ROOT"
        vimage_a_bridges="PARENT"
        """,
    "lines of fstab": """
        vimage_list="a b"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_a_rootdir="ROOT"
        vimage_b_rootdir="ROOT"
        vimage_a_mount0="ROOT/bin ROOT/etc nullfs ro,noatime 0 0"
        vimage_a_mount1="tmpfs ROOT/dev tmpfs"
        vimage_b_mount="tmpfs ROOT/dev tmpfs rw"
        """,
    "shared root": """
        vimage_list="a"
        vimage_a_rootdir="/"
        vimage_a_bridges="PARENT"
        vimage_a_boot="none"
        """,
    "hooks, boot, services, command": """
        vimage_list="a"
        vimage_a_rootdir="ROOT"
        vimage_a_bridges="PARENT"
        vimage_a_exec_prepare="true"
        vimage_a_exec_prestart="true"
        vimage_a_exec_created="true"
        vimage_a_exec_poststart="true"
        vimage_a_exec_prestop="true"
        vimage_a_exec_poststop="true"
        vimage_a_exec_release="true"
        vimage_a_exec_start="true"
        vimage_a_exec_stop="true"
        vimage_a_exec_afterstart="true"
        vimage_a_securelevel="1"
        vimage_a_command="/bin/sleep 1000000"
        """,
    "long names": """
        vimage_list="averyveryverylongname"
        vimage_averyveryverylongname_rootdir="ROOT"
        vimage_averyveryverylongname_bridges="PARENT PARENT"
        vimage_averyveryverylongname_boot="none"
        vimage_averyveryverylongname_devfs_enable="NO"
        """,
    "dependencies": """
        vimage_list="a b c"
        vimage_boot="none"
        vimage_devfs_enable="NO"
        vimage_a_rootdir="ROOT"
        vimage_a_depend="b"
        vimage_a_bridges="PARENT"
        vimage_b_rootdir="ROOT"
        vimage_b_depend="c"
        vimage_b_bridges="PARENT"
        vimage_c_rootdir="ROOT"
        """,
}


def variables(kind: str, *, root: str, parent: str, other: str) -> dict[str, str]:
    """The variables of a kind, as a shell would read them."""
    found = {}
    for line in CONFIGURATIONS[kind].split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals:
            value = value.strip('"')
            for word, real in (("ROOT", root), ("PARENT", parent), ("OTHER", other)):
                value = value.replace(word, real)
            found[name] = value
    return found
