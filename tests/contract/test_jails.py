"""Jails: made, changed, found, removed."""

from __future__ import annotations

import errno

import pytest

from tests.contract.expect import cleared, fails, fails_in_words
from tests.contract.registry import contract
from vimage.kernel import JailCommand, JailId

NOBODY = JailId(999_998)


@contract("jail_create")
@contract("jail_get")
def test_a_new_jail(host):
    root, name = host.root(), host.name("j")
    jid = host.jail(name=name, path=root, host__hostname="inside.example")
    jail = host.kernel.jail_get(jid)
    assert jail.jid == jid
    assert (jail.name, jail.path, jail.hostname) == (name, root, "inside.example")
    assert (jail.vnet, jail.dying) == (True, False)
    assert host.kernel.jail_get(name) == jail


@contract("jail_create")
def test_a_jail_without_a_vnet(host):
    assert host.kernel.jail_get(host.jail(vnet=None)).vnet is False


@contract("jail_create")
def test_parameters_of_every_type(host):
    host.jail(securelevel="2", devfs_ruleset=5, enforce_statfs="1", osrelease="12.4-RELEASE",
              osreldate="1204000", children__max=3, allow__raw_sockets=True,
              allow__set_hostname=False, allow__mount="true", sysvmsg="new", host__hostuuid="x")


@contract("jail_create")
def test_parameters_in_their_negative_form(host):
    host.jail(allow__noset_hostname=True)


@contract("jail_create")
def test_without_a_name_the_jid_is_the_name(host):
    jid = host.jail(name=None)
    assert host.kernel.jail_get(jid).name == str(jid)


@contract("jail_create")
@pytest.mark.parametrize("form", ["{}", "{}-b", "1{}", "_{}"])
def test_names(host, form):
    name = form.format(host.name("j"))
    assert host.kernel.jail_get(host.jail(name=name)).name == name


@contract("jail_create")
def test_a_name_of_digits_is_the_jid(host):
    assert host.jail(name="987654") == 987654
    assert host.kernel.jail_get("987654").jid == 987654


@contract("jail_create")
def test_two_jails_on_one_root(host):
    root = host.root()
    assert host.jail(path=root) != host.jail(path=root)


@contract("jail_create", errno.EEXIST)
def test_a_name_that_a_jail_has(host):
    name = host.name("j")
    host.jail(name=name)
    with fails_in_words(errno.EEXIST, f'jail "{name}" already exists'):
        host.jail(name=name)


@contract("jail_create", errno.ENOENT)
def test_a_path_that_is_missing(host):
    with fails_in_words(errno.ENOENT, ""):
        host.jail(path="/no/such/directory")


@contract("jail_create", errno.ENOENT)
def test_a_child_of_no_jail(host):
    name = host.name("j")
    with fails_in_words(errno.ENOENT, f'jail "{name}" not found'):
        host.jail(name=f"{name}.child")


@contract("jail_create")
def test_the_host_may_make_a_child_of_a_jail_that_may_make_none(host):
    name = host.name("j")
    host.jail(name=name)
    child = host.jail(name=f"{name}.child")
    assert host.kernel.jail_get(child).name == f"{name}.child"


@contract("jail_create")
def test_children_go_with_their_parent(host):
    name = host.name("j")
    parent = host.jail(name=name, children__max=1)
    child = host.jail(name=f"{name}.child")
    assert host.kernel.jail_get(f"{name}.child").jid == child
    host.remove(parent)
    with fails(errno.ENOENT):
        host.kernel.jail_get(child)


@contract("jail_create", errno.ENOTDIR)
def test_a_path_that_is_a_file(host):
    root = host.root()
    with open(host.file(f"{root}/file"), "w"):
        pass
    with fails_in_words(errno.ENOTDIR, ""):
        host.jail(path=f"{root}/file")


@contract("jail_create", errno.EINVAL)
@pytest.mark.parametrize(("parameters", "words"), [
    ({"no_such": "1"}, "unknown parameter: no_such"),
    ({"allow.no_such": True}, "unknown parameter: allow.no_such"),
    ({"exec.start": "x"}, "unknown parameter: exec.start"),
    ({"securelevel": "high"}, ""),
    ({"vnet": "sideways"}, ""),
    ({"enforce_statfs": 3}, ""),
    ({"devfs_ruleset": 65536}, ""),
    ({"persist": False}, "new jail must persist or attach"),
    ({"vnet": "new", "ip4.addr": "192.0.2.1"}, "vnet jails cannot have IP address restrictions"),
    ({"jid": -5}, "negative jid"),
    ({"osreldate": 0}, "osreldate cannot be 0"),
])
def test_parameters_that_are_wrong(host, parameters, words):
    before = host.kernel.jail_list()
    with fails_in_words(errno.EINVAL, words):
        host.jail(**parameters)
    assert host.kernel.jail_list() == before


@contract("jail_update")
def test_update(host):
    jid = host.jail()
    host.kernel.jail_update(jid, {"host.hostname": "later.example", "allow.raw_sockets": True})
    assert host.kernel.jail_get(jid).hostname == "later.example"
    name = host.name("j")
    host.kernel.jail_update(jid, {"name": name})
    assert host.kernel.jail_get(name).jid == jid


@contract("jail_update")
def test_the_securelevel_of_a_jail_goes_up_and_down(host):
    jid = host.jail()
    host.kernel.jail_update(jid, {"securelevel": 3})
    host.kernel.jail_update(jid, {"securelevel": 1})


@contract("jail_update", errno.EPERM)
def test_a_securelevel_below_that_of_the_host(host):
    jid = host.jail()
    with fails_in_words(errno.EPERM, ""):
        host.kernel.jail_update(jid, {"securelevel": -2})


@contract("jail_update", errno.ENOENT)
def test_update_of_no_jail(host):
    with fails_in_words(errno.ENOENT, f"jail {NOBODY} not found"):
        host.kernel.jail_update(NOBODY, {"host.hostname": "x"})


@contract("jail_update", errno.EINVAL)
@pytest.mark.parametrize(("parameters", "words"), [
    ({"no_such": "1"}, "unknown parameter: no_such"),
    ({"vnet": "new"}, "vnet cannot be changed after creation"),
    ({"path": "/"}, "path cannot be changed after creation"),
    ({"securelevel": "high"}, ""),
])
def test_updates_that_are_wrong(host, parameters, words):
    jid = host.jail()
    with fails_in_words(errno.EINVAL, words):
        host.kernel.jail_update(jid, parameters)


@contract("jail_update")
def test_a_jail_that_no_longer_persists_goes(host):
    jid = host.jail()
    host.kernel.jail_update(jid, {"persist": False})
    host.freed(jid)
    with fails(errno.ENOENT):
        host.kernel.jail_get(jid)


@contract("jail_get", errno.ENOENT)
@pytest.mark.parametrize("jail", [NOBODY, "no_such_jail", str(NOBODY)])
def test_no_such_jail(host, jail):
    with pytest.raises(FileNotFoundError):
        host.kernel.jail_get(jail)


@contract("jail_list")
def test_the_list_has_the_living(host):
    jid = host.jail()
    assert jid in host.kernel.jail_list()
    host.hold_tcp(jid)
    host.kernel.jail_remove(jid)
    assert jid not in host.kernel.jail_list()
    host.give_up_tcp(jid)
    host.freed(jid)


@contract("jail_remove")
def test_remove(host):
    jid = host.jail()
    host.remove(jid)
    with fails(errno.ENOENT):
        host.kernel.jail_get(jid)
    assert jid not in host.kernel.jail_list()


@contract("jail_remove", errno.ENOENT)
def test_remove_of_no_jail(host):
    with pytest.raises(FileNotFoundError):
        host.kernel.jail_remove(NOBODY)


@contract("jail_remove")
def test_remove_kills_processes(host):
    jid = host.jail()

    async def main():
        process = await host.processes.start(JailCommand(jid, ["/bin/sleep", "1000"]))
        host.kernel.jail_remove(jid)
        return await process.wait()

    assert host.run(main()) == 128 + 9
    host.freed(jid)


@contract("jail_remove")
def test_a_held_connection_keeps_a_jail_dying(host):
    _, name = host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    jail = host.kernel.jail_get(jid).name
    host.hold_tcp(jid)
    host.kernel.jail_remove(jid)
    host.kernel.jail_remove(jid)
    assert host.kernel.jail_get(jid).dying
    assert host.kernel.jail_get(jail).jid == jid
    with fails(errno.ENXIO):
        host.kernel.if_get(name)
    second = host.jail(name=jail)
    assert host.kernel.jail_get(jail).jid == second
    host.give_up_tcp(jid)
    host.freed(jid)
    assert host.kernel.if_get(name).name == name


@contract("jail_clear", errno.ENOENT)
def test_nothing_enters_a_dying_jail(host):
    jid = host.jail()
    host.hold_tcp(jid)
    host.kernel.jail_remove(jid)
    with fails(errno.ENOENT):
        host.kernel.jail_clear(jid, 0)
    with fails(errno.ENOENT):
        host.kernel.vnet(jid)
    host.give_up_tcp(jid)
    host.freed(jid)


@contract("jail_clear")
def test_connections_are_dropped_where_no_process_is(host):
    jid = host.jail()
    host.hold_tcp(jid)
    while not cleared(host.kernel, jid, 9):
        pass  # what held them is ending
    host.remove(jid)


@contract("jail_clear")
@contract("Hold.close")
def test_a_hold_keeps_the_interfaces_of_a_removed_jail(host):
    _, name = host.eiface()
    jid = host.jail()
    host.kernel.if_vmove(name, jid)
    hold = host.kernel.jail_clear(jid, 15)
    host.kernel.jail_remove(jid)
    assert host.kernel.jail_get(jid).dying
    with fails(errno.ENXIO):
        host.kernel.if_get(name)
    hold.close()
    hold.close()
    host.freed(jid)
    assert host.kernel.if_get(name).name == name


@contract("jail_clear", errno.ENOENT)
def test_no_jail_is_no_jail_to_clear(host):
    with fails(errno.ENOENT):
        host.kernel.jail_clear(NOBODY, 15)


@contract("jail_clear")
def test_kill_reaches_every_process_of_the_jail_and_no_other(host):
    jid, other = host.jail(), host.jail()

    async def main():
        start = host.processes.start
        mine = [await start(JailCommand(jid, ["/bin/sleep", "1000"])) for _ in range(2)]
        alien = await start(JailCommand(other, ["/bin/sleep", "1000"]))
        assert not cleared(host.kernel, jid)
        assert not cleared(host.kernel, jid, 15)
        ended = [await process.wait() for process in mine]
        assert host.kernel.jail_of(alien.id.pid) == other
        alien.kill(9)
        return ended, await alien.wait()

    assert host.run(main()) == ([128 + 15, 128 + 15], 128 + 9)


@contract("jail_clear")
def test_kill_where_there_is_no_process(host):
    jid = host.jail()
    assert cleared(host.kernel, jid)
    assert cleared(host.kernel, jid, 9)
