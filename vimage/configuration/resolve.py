"""From variables to a frozen `Configuration`, and every problem at once.  Pure.

A vimage with an error is left out of the result, and so are those that depend on it.  An
error that several vimages share is told once for each of them, with the same text; one
that belongs to no vimage leaves all of them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vimage.configuration import across, unknown
from vimage.configuration import variables as table
from vimage.configuration.read import read
from vimage.configuration.sheet import Draft, Sheet, boot_of, devfs, ruleset, shown
from vimage.messages import Problem
from vimage.model import HOST_HOOKS, Boot, Configuration, Vimage

#: The command of boot=network.  netif(8) exits 0 whatever becomes of an interface, and
#: routing exits 1 when the kernel refuses a route, as it does with a default route of a
#: shared rc.conf in a vimage that is not on that network; rc(8) heeds neither.  What fails
#: is a script that is missing or cannot be run.
EXEC_START = {
    Boot.NETWORK: "/bin/sh /etc/rc.d/netif start || exit; "
                  "/bin/sh /etc/rc.d/routing start; [ $? -le 1 ]",
    Boot.FULL: "/bin/sh /etc/rc",
    Boot.NONE: "",
}

EXEC_STOP = {
    Boot.NETWORK: "",
    Boot.FULL: "/bin/sh /etc/rc.shutdown jail",
    Boot.NONE: "",
}


def resolve(
    variables: Mapping[str, str],
    *,
    hostuuid: str,
    cpus: int,
    recorded_macs: Mapping[str, str] | None = None,
    host_macs: Mapping[str, str] | None = None,
) -> tuple[Configuration, list[Problem]]:
    """What ``variables`` (as ``rcconf.read`` gives them) say.

    ``hostuuid`` is kern.hostuuid, ``cpus`` the number of CPUs of the host.
    ``recorded_macs`` are earlier ``Configuration.resolved_macs``.  ``host_macs`` gives the
    interfaces of the host that have a MAC address, name to address, less those that vimage
    has made: a vimage gets none of these addresses.  Raises nothing: what is
    wrong is in the list of problems, each with its text in ``vimage.messages``.
    """
    sheet = Sheet(variables, hostuuid, cpus, recorded_macs or {}, host_macs or {})
    read(sheet)
    across.check(sheet)
    unknown.warn(sheet)
    return _configuration(sheet), sheet.problems


def lines(problems: Iterable[Problem]) -> list[str]:
    """The texts, each once, in order: what several vimages share is printed once."""
    return list(dict.fromkeys(map(str, problems)))


def _configuration(sheet: Sheet) -> Configuration:
    good = {} if sheet.stopped else {
        draft.name: _vimage(draft) for draft in sheet.drafts.values() if not draft.bad}
    return Configuration(
        enable=sheet.globals.get("enable", False),
        list=tuple(dict.fromkeys(
            name for name in sheet.globals.get("list", ()) if name in sheet.drafts)),
        parallel=sheet.globals.get("parallel", 4 * sheet.cpus),
        vimages=good,
        bridges=sheet.bridges,
        mac_seed=sheet.seed(),
        resolved_macs=sheet.resolved,
        logfile=sheet.globals.get("logfile", ""),
        shutdown_timeout=_shutdown_timeout(sheet),
    )


def _shutdown_timeout(sheet: Sheet) -> float:
    """rcshutdown_timeout of rc.conf(5), whose default is 90 seconds."""
    text = sheet.settings.get("rcshutdown_timeout", "90")
    try:
        return float(table.SECONDS.parse(text))
    except ValueError as error:
        sheet.warn("value", variable="rcshutdown_timeout", value=shown(text),
                   reason=str(error), allowed=table.SECONDS.allowed)
        return 90


def _jail_parameters(draft: Draft) -> dict[str, str | int | bool | None]:
    value = draft.values.get
    result: dict[str, str | int | bool | None] = {
        "allow.mount": value("mount_enable", False),
        "allow.set_hostname": value("set_hostname_allow", False),
        "allow.sysvipc": value("sysvipc_allow", False),
        "enforce_statfs": value("enforce_statfs", 2),
    }
    if devfs(draft):
        result["devfs_ruleset"] = ruleset(draft)
    for part in ("osrelease", "osreldate"):
        if value(part) is not None:
            result[part] = value(part)
    result.update(value("parameters", {}))
    return result


#: Parts whose values go into the field of the same name as they are.
_PLAIN = (
    "vnets", "defaultrouter", "defaultrouter6", "depend", "command", "afterstart_services",
    "exec_afterstart", "start_timeout", "stop_timeout", "health", "health_interval",
    "health_timeout", "restart", "devfs_ruleset", "fdescfs_enable", "procfs_enable",
    "securelevel", "rctl", "cpus",
)


def _vimage(draft: Draft) -> Vimage:
    value, boot = draft.values.get, boot_of(draft)
    root = draft.values["rootdir"]
    return Vimage(
        name=draft.name,
        rootdir=root,
        hostname=value("hostname", draft.name),
        links=tuple(draft.links),
        boot=boot,
        exec_start=value("exec_start", EXEC_START[boot]),
        exec_stop=value("exec_stop", EXEC_STOP[boot]),
        hooks={hook: draft.values[hook] for hook in HOST_HOOKS if value(hook)},
        consolelog=value("consolelog", f"/var/log/vimage_{draft.name}_console.log"),
        fstab=value("fstab", "" if root == "/" else f"/etc/fstab.{draft.name}"),
        devfs_enable=devfs(draft),
        parameters=_jail_parameters(draft),
        **{part: draft.values[part] for part in _PLAIN if part in draft.values},
    )
