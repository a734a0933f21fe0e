"""From variables to a configuration."""

from __future__ import annotations

import itertools
import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vimage.configuration import mac
from vimage.configuration.resolve import lines, resolve
from vimage.configuration.variables import EXEC_START
from vimage.model import Boot, Configuration, MacFrom, Vimage

UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"


def read(text="", *, uuid=UUID, cpus=4, recorded=None, **variables):
    """A configuration without errors; ``text`` is lines of NAME=VALUE without vimage_."""
    given_ = dict(line.split("=", 1) for line in text.split("\n") if line)
    settings = {f"vimage_{name}": value for name, value in {**given_, **variables}.items()}
    configuration, problems = resolve(
        settings, hostuuid=uuid, cpus=cpus, recorded_macs=recorded or {})
    assert lines(problems) == []
    return configuration


def one(text="", **variables) -> Vimage:
    variables = {"list": "a", "a_rootdir": "/j/a", **variables}
    return read(text, **variables).vimages["a"]


def test_nothing_set():
    assert resolve({}, hostuuid="", cpus=2) == (Configuration(parallel=8), [])


def test_the_defaults_of_a_vimage():
    assert one() == Vimage(
        name="a", rootdir="/j/a", hostname="a", exec_start=EXEC_START[Boot.NETWORK],
        consolelog="/var/log/vimage_a_console.log", fstab="/etc/fstab.a", devfs_enable=True,
        parameters={"allow.mount": False, "allow.set_hostname": False, "allow.sysvipc": False,
                    "enforce_statfs": 2, "devfs_ruleset": 5})


def test_the_example_of_the_article():
    """Devin Teske's own lines."""
    configuration = read("""enable=YES
list=vj1
vj1_rootdir=/usr/jail/vj1
vj1_hostname=vj1
vj1_devfs_enable=YES
vj1_bridges=igb0 igb0
afterstart_services=sshd
""")
    vimage = configuration.vimages["vj1"]
    assert configuration.enable and configuration.list == ("vj1",)
    assert [link.name for link in vimage.links] == ["ng0_vj1", "ng1_vj1"]
    assert [link.mac for link in vimage.links] == [
        mac.derive(UUID, "vj1", 0), mac.derive(UUID, "vj1", 1)]
    assert vimage.afterstart_services == ("sshd",)


def test_own_over_default_over_built_in_and_empty_is_unset():
    configuration = read("""list=a b c
rootdir=/j
a_start_timeout=5
b_start_timeout=
start_timeout=7
a_stop_timeout=
""")
    assert [v.start_timeout for v in configuration.vimages.values()] == [5, 7, 7]
    assert configuration.vimages["a"].stop_timeout == 30


def test_a_blank_list_keeps_the_default_away():
    assert one(afterstart_services="sshd", a_afterstart_services=" ").afterstart_services == ()
    assert one(a_exec_start=" ").exec_start == ""


def test_places_and_prefixes_of_links():
    links = one(a_bridges="=em0 - !em1 em0.5 - em2", a_mac5="02:00:00:00:00:0A").links
    assert [(link.index, link.parent, link.mac_from, link.mac) for link in links] == [
        (0, "em0", MacFrom.PARENT, None),
        (2, "em1", MacFrom.KERNEL, None),
        (3, "em0.5", MacFrom.DERIVED, mac.derive(UUID, "a", 3)),
        (5, "em2", MacFrom.GIVEN, "02:00:00:00:00:0a"),
    ]


def test_a_host_only_bridge():
    configuration = read("""bridge_list=lan d-mz
bridge_lan_addr=10.0.0.1/24
bridge_d_mz_mac=02:00:00:00:00:01
list=a
a_rootdir=/j
a_bridges=lan em0
""")
    assert [link.host_only for link in configuration.vimages["a"].links] == [True, False]
    assert configuration.bridges["lan"].addresses == ("10.0.0.1/24",)
    assert configuration.bridges["lan"].mac == mac.derive(UUID, "bridge/lan", 0)
    assert configuration.bridges["d-mz"].mac == "02:00:00:00:00:01"


def test_hooks_the_unnumbered_first_then_by_number():
    vimage = one("""a_exec_prestart=none
a_exec_prestart0=zero
a_exec_prestart1=one
a_exec_prestart2=two
exec_prestart1=default
exec_prestart3=three
exec_poststop1=from one
a_exec_afterstart10=ten
""" + "".join(f"a_exec_afterstart{n}=n{n}\n" for n in range(1, 10)))
    assert vimage.hooks == {"exec_prestart": ("none", "zero", "one", "two", "three"),
                            "exec_poststop": ("from one",)}
    assert vimage.exec_afterstart == (*(f"n{n}" for n in range(1, 10)), "ten")


@pytest.mark.parametrize(("boot", "start", "stop", "devfs"), [
    ("full", "/bin/sh /etc/rc", "/bin/sh /etc/rc.shutdown jail", True), ("none", "", "", False)])
def test_boot(boot, start, stop, devfs):
    vimage = one(a_boot=boot)
    assert (vimage.exec_start, vimage.exec_stop, vimage.devfs_enable) == (start, stop, devfs)
    assert ("devfs_ruleset" in vimage.parameters) == devfs


@pytest.mark.parametrize(("netif", "routing", "status", "ran"), [
    (0, 0, 0, "netif start\nrouting start\n"),
    (0, 1, 0, "netif start\nrouting start\n"),  # a route that the kernel refuses
    (0, 2, 1, "netif start\nrouting start\n"),
    (1, 0, 1, "netif start\n"),
])
def test_the_network_boot_command(tmp_path, netif, routing, status, ran):
    for name, code in (("netif", netif), ("routing", routing)):
        (tmp_path / name).write_text(f"echo {name} $1; exit {code}\n")
    command = EXEC_START[Boot.NETWORK].replace("/etc/rc.d", str(tmp_path))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, ran)


def test_the_network_boot_command_without_its_scripts(tmp_path):
    command = EXEC_START[Boot.NETWORK].replace("/etc/rc.d", str(tmp_path))
    (tmp_path / "netif").write_text("")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert done.returncode != 0


def test_the_root_of_the_host():
    vimage = one(a_rootdir="/")
    assert (vimage.devfs_enable, vimage.fstab) == (False, "")
    assert "devfs_ruleset" not in vimage.parameters
    assert one(a_rootdir="/", a_devfs_enable="NO").devfs_enable is False


def test_parameters():
    assert one(
        a_mount_enable="YES", a_set_hostname_allow="on", sysvipc_allow="true",
        a_enforce_statfs="1", a_osrelease="13.2-RELEASE", a_osreldate="1302001",
        a_devfs_ruleset="20", a_parameters="allow.raw_sockets children.max=5",
    ).parameters == {
        "allow.mount": True, "allow.set_hostname": True, "allow.sysvipc": True,
        "enforce_statfs": 1, "devfs_ruleset": 20, "osrelease": "13.2-RELEASE",
        "osreldate": 1302001, "allow.raw_sockets": True, "children.max": "5"}


def test_a_router_by_default_is_for_those_with_addresses():
    configuration = read("""list=a b
rootdir=/j
bridges=em0
defaultrouter=192.0.2.1
a_addr0=192.0.2.2/24
""")
    assert [v.defaultrouter for v in configuration.vimages.values()] == ["192.0.2.1", ""]


def test_a_default_for_links_is_no_error_where_there_is_none():
    configuration = read("""list=a b
rootdir=/j
a_bridges=em0
addr0=192.0.2.2/24
""")
    assert configuration.vimages["a"].links[0].addresses == ("192.0.2.2/24",)


def test_depend_by_default_leaves_out_oneself():
    configuration = read("list=router a\nrootdir=/j\ndepend=router\n")
    assert [v.depend for v in configuration.vimages.values()] == [(), ("router",)]


def test_a_vimage_that_is_not_listed():
    configuration = read("list=a\na_rootdir=/j\na_depend=b\nb_rootdir=/j\n")
    assert configuration.list == ("a",) and set(configuration.vimages) == {"a", "b"}


def test_names_that_begin_alike():
    configuration = read("""list=a a_b exec health set-hostname
rootdir=/j
a_hostname=one
a_b_hostname=two
exec_exec_start=three
health_health_interval=4
health_interval=5
set_hostname_hostname=six
a_b_rootdir=/k
""")
    v = configuration.vimages
    assert [v[name].hostname for name in ("a", "a_b", "set-hostname")] == ["one", "two", "six"]
    assert v["exec"].exec_start == "three"
    assert (v["health"].health_interval, v["a"].health_interval) == (4, 5)
    assert (v["a"].rootdir, v["a_b"].rootdir) == ("/j", "/k")


def test_all_cpus_of_the_host():
    assert one(a_cpus="0-3").cpus == "0-3"


def test_the_seed():
    other = one(mac_seed="another", a_bridges="em0")
    assert other.links[0].mac == mac.derive("another", "a", 0)
    assert read("list=a\na_rootdir=/j\nmac_seed=x\na_bridges=em0\n", uuid="").mac_seed == "x"
    assert read("list=a\na_rootdir=/j\na_bridges=!em0 =em0\n", uuid="").mac_seed == ""


def test_addresses_do_not_depend_on_the_order():
    names = [f"vj{n}" for n in range(50)]
    first = read(list=" ".join(names), rootdir="/j", bridges="em0 em1")
    again = read(list=" ".join(reversed(names)), rootdir="/j", bridges="em0 em1")
    assert all(first.vimages[name] == again.vimages[name] for name in names)


def test_a_given_address_makes_the_derived_one_yield():
    taken = mac.derive(UUID, "b", 0)
    text = f"list=a b\nrootdir=/j\nbridges=em0\na_mac0={taken}\n"
    configuration = read(text)
    assert configuration.vimages["b"].links[0].mac == mac.derive(UUID, "b", 0, 1)
    assert configuration.resolved_macs == {"b/0": mac.derive(UUID, "b", 0, 1)}
    later = read("list=a b\nrootdir=/j\nbridges=em0\n", recorded=configuration.resolved_macs)
    assert later.vimages["b"].links[0].mac == mac.derive(UUID, "b", 0, 1)
    assert later.resolved_macs == configuration.resolved_macs


def test_ten_thousand_variables_and_as_many_errors():
    names = [f"vj{n}" for n in range(1000)]
    settings = {"vimage_list": " ".join(names)}
    for n, name in enumerate(names):
        for part, value in (
            ("rootdir", "/j"), ("bridges", "em0 em0"), ("hostname", "x y"), ("boot", "x"),
            ("depend", names[n - 1]), ("vnets", "em1"), ("unknown", "1"), ("cpus", "99"),
            ("addr0", "192.0.2.2/24"), ("mac1", "02:00:00:00:00:01"),
        ):
            settings[f"vimage_{name}_{part}"] = value
    configuration, problems = resolve(settings, hostuuid=UUID, cpus=4)
    assert configuration.vimages == {}
    assert len([p for p in problems if p.key == "variable_unknown"]) == 1000
    assert len([p for p in problems if p.key == "value"]) == 3000


PARTS = (
    "rootdir", "hostname", "bridges", "vnets", "mac0", "addr0", "addr1", "defaultrouter",
    "defaultrouter6", "depend", "boot", "exec_start", "command", "exec_prestart0",
    "exec_prestart2", "fstab", "devfs_enable", "cpus", "rctl", "parameters", "xyzzy",
    "start_timeout",
)
VALUES = st.sampled_from((
    "/", "/j", "a", "b", "em0", "em0 lan", "=em0 -", "192.0.2.2/24", "192.0.2.1", "fe80::1%x",
    "YES", "none", "0", "1-9", "a b", "", " ", "x\ny", "{variable}", "maxproc:deny=1",
    "allow.chflags", "02:00:00:00:00:01",
    "f\udcfcr", "fe80::1%\n", "/\udcfc"))
SETTINGS = st.dictionaries(
    st.sampled_from([f"vimage_{name}{part}" for part in PARTS for name in ("a_", "b_", "a_b_", "")]
                    + ["vimage_enable", "vimage_parallel", "vimage_bridge_lan_addr",
                       "vimage_mac_seed", "vimage_bridge_list", "vimage_user", "vimage_"]),
    VALUES, max_size=25)
LISTS = st.lists(
    st.sampled_from(("a", "b", "a-b", "a_b", "7", "bridge", "c/d", "\udcfc")), max_size=4)


@given(SETTINGS, LISTS)
def test_whatever_is_set_there_is_an_answer(settings, listed):
    """No exception; no vimage with an error, nor one that needs such a vimage."""
    settings = {**settings, "vimage_list": " ".join(listed)}
    configuration, problems = resolve(settings, hostuuid=UUID, cpus=2)
    errors = [problem for problem in problems if not problem.warning]
    assert all(line and line.isprintable() for line in lines(problems))
    assert not {problem.vimage for problem in errors} & set(configuration.vimages)
    assert not configuration.vimages or "" not in {problem.vimage for problem in errors}
    for vimage in configuration.vimages.values():
        assert set(vimage.depend) <= set(configuration.vimages)
    if not errors:
        assert set(configuration.list) <= set(configuration.vimages)


@given(SETTINGS, LISTS, st.randoms(use_true_random=False))
def test_the_order_of_the_variables_makes_no_difference(settings, listed, shuffle):
    settings = {**settings, "vimage_list": " ".join(listed)}
    items = list(settings.items())
    shuffle.shuffle(items)
    first, problems = resolve(settings, hostuuid=UUID, cpus=2)
    second, again = resolve(dict(items), hostuuid=UUID, cpus=2)
    assert first == second and sorted(lines(problems)) == sorted(lines(again))


@given(st.integers(0, 2**32))
def test_circles_are_found_and_nothing_else(seed):
    draw = random.Random(seed)
    names = [f"v{n}" for n in range(draw.randint(1, 8))]
    needs = {name: draw.sample(names, draw.randint(0, min(2, len(names)))) for name in names}
    settings = {"vimage_list": " ".join(names), "vimage_rootdir": "/j"}
    settings |= {f"vimage_{name}_depend": " ".join(others) for name, others in needs.items()}
    configuration, _ = resolve(settings, hostuuid=UUID, cpus=2)
    startable: set[str] = set()
    for _ in names:
        startable |= {name for name in names if set(needs[name]) <= startable}
    assert set(configuration.vimages) == startable


def chain(length, **more):
    names = [f"v{n}" for n in range(length)]
    settings = {"vimage_list": " ".join(names), "vimage_rootdir": "/j", **more}
    settings |= {f"vimage_{name}_depend": other
                 for name, other in itertools.pairwise(names)}
    return resolve(settings, hostuuid=UUID, cpus=4)


def test_a_chain_of_two_thousand():
    configuration, problems = chain(2000)
    assert lines(problems) == [] and len(configuration.vimages) == 2000


def test_a_chain_of_two_thousand_that_bites_its_tail():
    configuration, problems = chain(2000, vimage_v1999_depend="v0")
    assert configuration.vimages == {} and len(problems) == 2000
    assert str(problems[0]) == (
        "vimage_v0_depend: circular dependency: v0 -> v1 -> v2 -> v3 -> "
        "(1994 more) -> v1998 -> v1999 -> v0")


def test_a_short_circle_is_named_whole():
    _, problems = chain(8, vimage_v7_depend="v0")
    assert str(problems[3]) == ("vimage_v3_depend: circular dependency: "
                                "v0 -> v1 -> v2 -> v3 -> v4 -> v5 -> v6 -> v7 -> v0")


def test_the_result_is_frozen():
    with pytest.raises(AttributeError):
        one().name = "b"  # type: ignore[misc]
