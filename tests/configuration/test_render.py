"""A vimage printed back says what was read."""

from __future__ import annotations

import json
import shlex
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from vimage.configuration import rcconf, render
from vimage.configuration.resolve import lines, resolve

UUID = "4c4c4544-0042-4a10-8052-b3c04f4e3332"

COMMANDS = st.text("abc '\"\\$`\n;#!", max_size=20)
YES_NO = st.sampled_from(("YES", "no"))
SECONDS = st.integers(100, 86_400_000).map(lambda n: f"{n / 1000:.3f}")
PATHS = st.text("/abc .-'$", max_size=20).map(lambda text: f"/x{text}".replace("..", "."))
WORD = st.text("abc '\"\\$", min_size=1, max_size=8)

#: Good values of every variable of a vimage, links apart.
GOOD = {
    "rootdir": PATHS,
    "hostname": st.text("abc.-_", min_size=1, max_size=20),
    "vnets": st.sampled_from(("igb0", "igb0 igb1.5")),
    "depend": st.just("b"),
    "boot": st.sampled_from(("network", "full", "none")),
    "exec_start": COMMANDS,
    "exec_stop": COMMANDS,
    "command": st.lists(WORD, max_size=4).map(lambda words: shlex.join(["/bin/x", *words])),
    "afterstart_services": st.sampled_from(("sshd", "sshd cron")),
    "start_timeout": SECONDS,
    "stop_timeout": SECONDS,
    "health": COMMANDS,
    "health_interval": SECONDS,
    "health_timeout": SECONDS,
    "restart": st.sampled_from(("no", "on-failure")),
    "consolelog": PATHS,
    "fstab": PATHS,
    "devfs_enable": YES_NO,
    "devfs_ruleset": st.integers(1, 65535).map(str),
    "fdescfs_enable": YES_NO,
    "procfs_enable": YES_NO,
    "mount_enable": YES_NO,
    "set_hostname_allow": YES_NO,
    "sysvipc_allow": YES_NO,
    "enforce_statfs": st.sampled_from("012"),
    "osrelease": st.just("13.2-RELEASE"),
    "osreldate": st.just("1302001"),
    "securelevel": st.integers(-1, 3).map(str),
    "parameters": st.sampled_from((
        "allow.raw_sockets", "children.max=5 allow.noquotas; sysvmsg=new")),
    "rctl": st.sampled_from(("maxproc:deny=9", "maxproc:deny=9 pcpu:sigterm=50/process")),
    "cpus": st.sampled_from(("0", "0,2-3")),
    "exec_prestart": COMMANDS,
    "exec_prestart0": COMMANDS,
    "exec_prestart1": COMMANDS,
    "exec_release1": COMMANDS,
    "exec_afterstart0": COMMANDS,
}
LINKS = st.sampled_from((
    {},
    {"bridges": "em0 em0"},
    {"bridges": "- =em0 !lan - lan", "addr4": "10.0.0.2/24 2001:db8::2/64",
     "defaultrouter": "10.0.0.1", "defaultrouter6": "2001:db8::1"},
    {"bridges": "em0.5", "mac0": "02:00:00:00:00:0A", "addr0": "192.0.2.2/24"},
    {"bridges": "em0 em0", "mtu0": "72", "mtu1": "9018"},
))
VIMAGES = st.tuples(st.fixed_dictionaries({}, optional=GOOD), LINKS)


def resolved(variables):
    variables = {"vimage_list": "a-1 b", "vimage_b_rootdir": "/b", "vimage_bridge_list": "lan",
                 **variables}
    configuration, problems = resolve(variables, hostuuid=UUID, cpus=4)
    assert lines(problems) == []
    return configuration.vimages["a-1"]


@given(VIMAGES)
def test_rendered_and_resolved_again_it_is_the_same(parts):
    parts = {"rootdir": "/j/a", **parts[0], **parts[1]}
    if parts.get("exec_prestart1") and not parts.get("exec_prestart0"):
        parts["exec_prestart0"] = "true"
    vimage = resolved({f"vimage_a_1_{part}": text for part, text in parts.items()})
    again = resolved(render.settings(vimage))
    assert again == vimage
    assert render.settings(again) == render.settings(vimage)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(("a", "b")), st.text("'\"\\$`\n!#*ä ;", max_size=20)))
def test_sh_reads_what_is_quoted(values):
    script = "\n".join([*render.lines(values), 'printf "%s\\0%s" "$a" "$b"'])
    out = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, env={}).stdout
    assert out.decode().split("\0") == [values.get("a", ""), values.get("b", "")]


def test_the_lines_of_a_vimage_through_the_shell(tmp_path):
    vimage = resolved({
        "vimage_a_1_rootdir": "/j/a $x", "vimage_a_1_bridges": "em0 - =lan",
        "vimage_a_1_addr0": "192.0.2.2/24", "vimage_a_1_exec_start": "echo \"$HOME\"\n`id`"})
    printed = render.rc_lines(vimage)
    assert printed[:3] == [
        'vimage_a_1_rootdir="/j/a \\$x"', 'vimage_a_1_hostname="a-1"',
        'vimage_a_1_bridges="em0 - =lan"']
    file = tmp_path / "rc.conf"
    file.write_text("\n".join(printed) + "\n")
    assert resolved(rcconf.read(str(file))) == vimage


def test_host_only_bridges_printed_back():
    variables = {"vimage_bridge_list": "lan d-mz", "vimage_bridge_lan_addr": "10.0.0.1/24"}
    bridges = resolve(variables, hostuuid=UUID, cpus=4)[0].bridges
    printed = render.bridge_settings(bridges.values())
    assert list(printed) == ["vimage_bridge_list", "vimage_bridge_lan_addr",
                             "vimage_bridge_lan_mac", "vimage_bridge_d_mz_mac"]
    assert resolve(printed, hostuuid=UUID, cpus=4)[0].bridges == bridges


def test_as_a_dict_it_is_json():
    vimage = resolved({"vimage_a_1_rootdir": "/j", "vimage_a_1_bridges": "!em0",
                       "vimage_a_1_exec_prestart": "true"})
    data = json.loads(json.dumps(vimage.to_dict()))
    assert data["name"] == "a-1" and data["boot"] == "network"
    link, = data["links"]
    assert link.items() >= {"index": 0, "parent": "em0", "host_only": False, "name": "ng0_a-1",
                            "mac_from": "kernel", "mac": None}.items()
    assert data["hooks"] == {"exec_prestart": ["true"]}
