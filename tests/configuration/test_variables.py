"""The table of variables, and the types that read them."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.configuration import values, variables
from vimage.configuration.draft import part_of
from vimage.model import Vimage

#: Every variable of the specification.
SPECIFIED = (
    "vimage_enable", "vimage_list", "vimage_parallel", "vimage_NAME_rootdir",
    "vimage_NAME_hostname", "vimage_NAME_bridges", "vimage_NAME_vnets", "vimage_NAME_macN",
    "vimage_NAME_addrN", "vimage_NAME_mtuN", "vimage_NAME_defaultrouter",
    "vimage_NAME_defaultrouter6", "vimage_NAME_depend",
    "vimage_NAME_boot", "vimage_NAME_exec_start",
    "vimage_NAME_exec_stop", "vimage_NAME_command", "vimage_NAME_afterstart_services",
    "vimage_NAME_exec_prepare[0..]", "vimage_NAME_exec_prestart[0..]",
    "vimage_NAME_exec_created[0..]", "vimage_NAME_exec_poststart[0..]",
    "vimage_NAME_exec_prestop[0..]", "vimage_NAME_exec_poststop[0..]",
    "vimage_NAME_exec_release[0..]", "vimage_NAME_exec_afterstart[0..]",
    "vimage_NAME_start_timeout", "vimage_NAME_stop_timeout", "vimage_NAME_health",
    "vimage_NAME_health_interval", "vimage_NAME_health_timeout", "vimage_NAME_restart",
    "vimage_NAME_consolelog", "vimage_NAME_fstab", "vimage_NAME_mount[0..]",
    "vimage_NAME_devfs_enable",
    "vimage_NAME_devfs_ruleset", "vimage_NAME_fdescfs_enable", "vimage_NAME_procfs_enable",
    "vimage_NAME_mount_enable", "vimage_NAME_set_hostname_allow", "vimage_NAME_sysvipc_allow",
    "vimage_NAME_enforce_statfs", "vimage_NAME_osrelease", "vimage_NAME_osreldate",
    "vimage_NAME_securelevel", "vimage_NAME_parameters", "vimage_NAME_rctl",
    "vimage_NAME_cpus", "vimage_bridge_list", "vimage_bridge_BR_addr", "vimage_bridge_BR_mac",
    "vimage_mac_seed", "vimage_logfile",
)

FIELDS = {field.name: field for field in dataclasses.fields(Vimage)}

#: Texts that somebody might write.
TEXTS = st.text(max_size=30) | st.text("0123456789-,./:=%! abcdef\"'\\$(){};\n\0", max_size=30)


def test_the_table_is_the_specification():
    assert sorted(row.form for row in variables.TABLE) == sorted(SPECIFIED)


def test_every_row_says_what_it_means():
    for row in variables.TABLE:
        assert row.meaning and not row.meaning.endswith("."), row.part
        assert row.type.allowed, row.part


def test_no_part_ends_like_another():
    """A variable of vimage a_x could otherwise be read as one of vimage a."""
    parts = [*variables.VIMAGE, *variables.LINK]
    every = [*parts, *variables.GLOBALS, *(f"bridge_{part}" for part in variables.BRIDGE)]
    for part in every:
        tails = [part[match.end():] for match in re.finditer("_", part)]
        number = "0" if part in variables.NUMBERED else ""
        assert not [tail for tail in tails if part_of(tail) or part_of(tail + number)], part


def test_reserved_names_are_no_variables():
    assert not variables.RESERVED & {*variables.GLOBALS, *variables.VIMAGE, *variables.LINK}


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.form)
@given(text=TEXTS)
def test_a_type_returns_a_value_or_says_what_is_wrong(row, text):
    try:
        value = row.type.parse(text)
    except ValueError as error:
        assert str(error)
    else:
        shown = row.shown(value)
        assert not shown or row.type.parse(shown) == value


VALUES = [
    (values.YES_NO, "yEs", True),
    (values.YES_NO, "on", True),
    (values.YES_NO, "0", False),
    (values.SECONDS, "0.5", 0.5),
    (values.SECONDS, "86400", 86400),
    (values.PATH, "//j///a/./b/", "/j/a/b"),
    (values.PATH, "/", "/"),
    (values.PATH, "/with space", "/with space"),
    (values.PARENTS, " =em0\t- !em0.1 ", (
        values.Parent("=", "em0"), None, values.Parent("!", "em0.1"))),
    (values.MAC, "02:AB:00:00:00:01", "02:ab:00:00:00:01"),
    (values.ADDRESSES, "192.0.2.2/24 2001:DB8::0:2/64", ("192.0.2.2/24", "2001:db8::2/64")),
    (values.ADDRESSES, "192.0.2.2/31 192.0.2.3/32", ("192.0.2.2/31", "192.0.2.3/32")),
    (values.ROUTER4, "No", ""),
    (values.ROUTER6, "fe80::1%ng0_a", "fe80::1%ng0_a"),
    (variables.LINK["mtu"].type, "9018", 9018),
    (values.SHELL, " \n", ""),
    (values.ARGV, r"""/bin/x 'a b' "c\"d" $HOME; # e""",
     ("/bin/x", "a b", 'c"d', "$HOME;", "#", "e")),
    (values.CPUS, "5, 0-2,2-3", "0-3,5"),
    (values.RULES, "vmemoryuse:deny=1g pcpu:sigterm=50/process",
     ("vmemoryuse:deny=1g", "pcpu:sigterm=50/process")),
    (variables.VIMAGE["parameters"].type,
     "allow.raw_sockets; children.max=5 allow.nochflags allow.quotas=0", {
        "allow.raw_sockets": True, "children.max": "5", "allow.chflags": False,
        "allow.quotas": False}),
    (variables.VIMAGE["restart"].type, "On-Failure", "on-failure"),
]


@pytest.mark.parametrize(("kind", "text", "value"), VALUES)
def test_values(kind, text, value):
    assert kind.parse(text) == value
    if value != "":
        assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize(("given_", "read"), [
    ("4096b", "4096"), ("4096", "4096"), ("4096B", "4096"), ("1g", "1g"), ("1G", "1G"),
    ("1gb", "1g"), ("2KB", "2K"), ("0x10", "16"), ("0X1bk", "27k"), ("010", "8"), ("0", "0"),
    ("7e", "7e"), ("9223372036854775807", "9223372036854775807"), ("0b", "0"),
])
def test_amounts_that_rctl_takes(given_, read):
    """As expand_number(3) of rctl(8) reads them."""
    rule, = values.RULES.parse(f"vmemoryuse:deny={given_}/process")
    assert rule == f"vmemoryuse:deny={read}/process"
    assert values.RULES.parse(rule) == (rule,)


def test_a_scope_that_is_not_an_interface():
    with pytest.raises(ValueError, match="is not an interface name"):
        values.ROUTER6.parse("fe80::1%a b")


@pytest.mark.parametrize(("rule", "why"), [
    ("vmemoryuse:deny=", "is not an amount"), ("vmemoryuse:deny=08", "08 is not an amount"),
    ("vmemoryuse:deny=1kk", "1kk is not an amount"), ("vmemoryuse:deny=-1", "not an amount"),
    ("vmemoryuse:deny=1.5g", "not an amount"), ("vmemoryuse:deny=0x", "not an amount"),
    ("vmemoryuse:deny=8e", "8e is too large"), ("vmemoryuse:deny=9223372036854775808", "large"),
    ("pcpu:deny=9223372036855", "too large"), ("cputime:log=1e", "too large"),
    (f"vmemoryuse:deny={'9' * 5000}", "too large"),
    ("maxproc:deny=1b maxproc:deny=1", "maxproc:deny=1 is listed twice"),
])
def test_amounts_that_the_kernel_would_refuse(rule, why):
    with pytest.raises(ValueError, match=why):
        values.RULES.parse(rule)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_cpu_lists(numbers):
    text = values.ranges(numbers)
    assert values.CPUS.parse(",".join(map(str, sorted(numbers, reverse=True)))) == text
    assert values.CPUS.parse(text) == text
