"""Resource rules and CPUs of jails."""

from __future__ import annotations

import errno

import pytest

from tests.contract.expect import fails
from tests.contract.registry import contract
from vimage.kernel import JailId


@contract("rctl_add")
@contract("rctl_remove")
def test_rules_come_and_go(host):
    host.with_accounting(True)
    name = host.kernel.jail_get(host.jail()).name
    host.kernel.rctl_add(f"jail:{name}:maxproc:deny=100")
    host.kernel.rctl_add(f"jail:{name}:memoryuse:deny=64m")
    host.kernel.rctl_add(f"jail:{name}:openfiles:log=64k")
    host.kernel.rctl_remove(f"jail:{name}:openfiles:log")
    with fails(errno.ESRCH):
        host.kernel.rctl_remove(f"jail:{name}:openfiles:")
    host.kernel.rctl_remove(f"jail:{name}:maxproc:")
    host.kernel.rctl_remove(f"jail:{name}:")
    with fails(errno.ESRCH):
        host.kernel.rctl_remove(f"jail:{name}:")


@contract("rctl_add")
@pytest.mark.parametrize("amount", ["4096b", "4096", "64k", "64KB", "1g/process"])
def test_amounts_as_rctl_takes_them(host, amount):
    host.with_accounting(True)
    name = host.kernel.jail_get(host.jail()).name
    host.kernel.rctl_add(f"jail:{name}:memoryuse:log={amount}")
    host.kernel.rctl_remove(f"jail:{name}:")


@contract("rctl_remove", errno.ESRCH)
def test_no_rule_matches(host):
    host.with_accounting(True)
    with fails(errno.ESRCH):
        host.kernel.rctl_remove("jail:no_such_jail:")


@contract("rctl_add", errno.EINVAL)
@pytest.mark.parametrize("rule", [
    "jail:{}:nonsense:deny=1", "jail:{}:maxproc:refuse=1", "jail:{}:maxproc:deny=many",
    "castle:{}:maxproc:deny=1", "jail:{}:maxproc",
])
def test_a_rule_that_is_wrong(host, rule):
    host.with_accounting(True)
    with fails(errno.EINVAL):
        host.kernel.rctl_add(rule.format(host.name("j")))


@contract("rctl_add", errno.ENOSYS)
@contract("rctl_remove", errno.ENOSYS)
def test_a_kernel_that_keeps_no_account(host):
    host.with_accounting(False)
    with fails(errno.ENOSYS):
        host.kernel.rctl_add(f"jail:{host.name('j')}:maxproc:deny=100")
    with fails(errno.ENOSYS):
        host.kernel.rctl_remove(f"jail:{host.name('j')}:")


@contract("jail_cpus")
def test_cpus(host):
    host.kernel.jail_cpus(host.jail(), frozenset([0]))


@contract("jail_cpus", errno.ENOENT)
def test_cpus_of_no_jail(host):
    with fails(errno.ENOENT):
        host.kernel.jail_cpus(JailId(999_998), frozenset([0]))


@contract("jail_cpus", errno.EINVAL)
def test_a_cpu_that_is_not_there(host):
    jid = host.jail()
    with fails(errno.EINVAL):
        host.kernel.jail_cpus(jid, frozenset([0, 250]))
