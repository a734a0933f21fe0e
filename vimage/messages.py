"""The texts of every error and warning, in one place.

A message is a template with named fields and a sentence for the DIAGNOSTICS of the
manual.  ``Problem`` is one occurrence.  ``tests`` hold the table against the manual.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Message(NamedTuple):
    """``text`` is printed; ``meaning`` tells the administrator what to do."""

    text: str
    meaning: str


MESSAGES: dict[str, Message] = {
    # -- the service ---------------------------------------------------------------------
    "no_service": Message(
        "the service is not running",
        "service vimage start starts it; the vimages that run are taken over."),
    "service_silent": Message(
        "the service did not answer within {seconds} s; see the system log",
        "The service could not start, or took too long to end. It gives the reason in the "
        "system log (facility daemon)."),
    "shutdown_late": Message(
        "not everything was stopped within {seconds} s: {names}",
        "rcshutdown_timeout, less ten seconds, is what all vimages have to stop at shutdown."),
    "not_healthy": Message(
        "not healthy within {seconds} s: {why}",
        "The vimage is ready only when its health command succeeds."),
    # -- configuration -----------------------------------------------------------------
    "rcconf_unreadable": Message(
        "{file}: {why}",
        "sh(1) cannot read rc.conf, or the file given with -f; what follows the file name is what "
        "the shell or the system said. Nothing was started or changed."),
    "rcconf_timeout": Message(
        "{file}: not read within {seconds} s",
        "rc.conf is a shell script, and one of its commands does not end. Nothing was started or "
        "changed."),
    "value": Message(
        '{variable}="{value}": {reason}; allowed: {allowed}',
        "The variable cannot have this value. Nothing is changed for the vimage until it is "
        "corrected."),
    "value_doubtful": Message(
        '{variable}="{value}": {reason}',
        "The variable can have this value, but it will not do on this host what it says. The "
        "vimage is started nevertheless."),
    "value_required": Message(
        "{variable} is not set; allowed: {allowed}",
        "A vimage needs this variable."),
    "variable_reserved": Message(
        '{variable}="{value}": rc.subr(8) reads this variable itself',
        "rc.subr(8) would apply it to the service and so to all vimages. Remove it; for one "
        "vimage there are vimage_NAME_command, vimage_NAME_cpus and vimage_NAME_rctl."),
    "variable_unknown": Message(
        "{variable}: unknown variable",
        "vimage has no such variable. It may be misspelled, or belong to a vimage that has been "
        "removed."),
    "variable_unknown_near": Message(
        "{variable}: unknown variable (did you mean {nearest}?)",
        "vimage has no such variable. It may be misspelled."),
    "name_bad": Message(
        'vimage_list: "{name}" is not a vimage name; allowed: {allowed}',
        "A name of digits alone would be a jail id."),
    "name_twice": Message(
        "vimage_list: {name} is listed twice",
        "List each vimage once."),
    "name_bridge": Message(
        "vimage_list: {name}: variables that begin with vimage_bridge_ describe host-only bridges",
        "Choose a name that is not bridge and does not begin with bridge_ or bridge-."),
    "name_ambiguous": Message(
        "{first} and {second} have the same variables, {prefix}...",
        "In the name of a variable, - is written as _. Rename one of the two."),
    "name_cut": Message(
        "{first} and {second} would both have an interface {interface}: interface names are cut to "
        "{most} characters",
        "The kernel limits the length of interface names. Rename one of the vimages so that they "
        "differ within the first ten characters."),
    "node_twice": Message(
        "{node} would be the netgraph node of {first} and of {second}",
        "Two nodes of netgraph(4) cannot have the same name, and in such a name . and : become _. "
        "Rename one of the two."),
    "interface_twice": Message(
        "{interface} is in {first} and in {second}; a whole interface belongs to one vimage",
        "An interface that is moved into a vimage is not available to another, or to a bridge."),
    "link_unknown": Message(
        '{variable}="{value}": {name} has no link {n}',
        "The number counts the words of vimage_NAME_bridges from 0; - skips a number."),
    "mac_prefix": Message(
        '{variable}="{value}": {prefix}{parent} already says where the MAC address comes from',
        "Remove the variable, or the = or ! in vimage_NAME_bridges."),
    "mac_twice": Message(
        "{first} and {second} have the same MAC address, {mac}",
        "Two interfaces cannot have the same MAC address."),
    "seed_missing": Message(
        'vimage_mac_seed is not set, and kern.hostuuid is "{uuid}"; allowed: one line of text',
        "MAC addresses are derived from the uuid of the host, and this host has none of its own. "
        "Set vimage_mac_seed to a text that no other host has."),
    "number_gap": Message(
        "{variable} is ignored because {missing} is not set",
        "Number the variables from 0 or 1, without gaps, as for rc.d/jail."),
    "root_mount": Message(
        '{variable}="{value}": {name} has the root directory /',
        "The mount would hide the host's own. Remove the variable, or set it to NO."),
    "devfs_differs": Message(
        "{first} and {second} share {root} but have different devfs rulesets, {ruleset} and "
        "{ruleset2}",
        "devfs is mounted once for all vimages with the same root. Give them the same ruleset."),
    "address_twice": Message(
        "{address} is in {first} and in {second}",
        "Use an address once within a vimage, and once on a bridge."),
    "router_no_address": Message(
        '{variable}="{value}": no link has an IPv{version} address; set {missing}',
        "The host sets a default route only in a vimage whose addresses it sets. A vimage that "
        "configures its own network sets the default route in its own rc.conf."),
    "router_elsewhere": Message(
        '{variable}="{value}": not on a network of the vimage ({networks})',
        "The kernel accepts only a router that can be reached directly."),
    "router_itself": Message(
        '{variable}="{value}": an address of the vimage itself',
        "A vimage cannot be its own router."),
    "router_scope": Message(
        '{variable}="{value}": {interface} is not a link of the vimage',
        "After % comes the interface, ngN_NAME, that leads to the link-local router."),
    "depend_unknown": Message(
        "{variable}: {name} depends on {other}, which does not exist",
        "The name in vimage_NAME_depend is misspelled, or that vimage has no variables."),
    "depend_cycle": Message(
        "{variable}: circular dependency: {cycle}",
        "Each of these vimages would wait for itself. Remove one of the dependencies."),
    "depend_error": Message(
        "{variable}: {name} depends on {other}, which has an error",
        "The vimage is skipped until the other one is corrected."),
    "yaml_missing": Message(
        "{file}: PyYAML is needed to read it (pkg install {package})",
        "The package that reads YAML is not installed. Nothing was started or changed."),
    "yaml_unreadable": Message(
        "{file}: {why}",
        "The file cannot be read, or is not valid YAML. Nothing was started or changed."),
    "yaml_form": Message(
        "{file}:{line}: {what}; allowed: {allowed}",
        "The file is valid YAML but does not follow vimage.conf(5). Nothing was started or "
        "changed."),
    "variable_twice": Message(
        "{variable} is set in {first} and in {second}, to different values",
        "Set the variable in one of the two files."),
    # -- commands ------------------------------------------------------------------------
    "not_running": Message(
        "{name}: not running", "The vimage is not ready; vimage status shows how it is."),
    "log_missing": Message(
        "{name}: no console log {path} yet",
        "Nothing has been run in the vimage, or its console log has been removed."),
    "log_unreadable": Message(
        "{name}: console log {path}: {why}",
        "Something else is where the console log should be, or it cannot be read."),
    "no_yaml": Message(
        "the YAML format needs PyYAML (pkg install {package})",
        "Everything else works without it."),
    "import_unreadable": Message(
        "{file}: {why}",
        "A file that was given to import, or one that it includes, cannot be read."),
    "import_kind": Message(
        "{file}: neither rc.conf(5) with variables of jails or vimages, nor jail.conf(5)",
        "vimage import tells the kind of a file by its content, and found none that it knows."),
    "import_syntax": Message(
        "{file}:{line}: {why}",
        "The file is not of the form of jail.conf(5)."),
    "import_left": Message(
        "{whose}: {what}: {why}",
        "vimage import could not carry this over as it was."),
    # -- the host ------------------------------------------------------------------------
    "not_root": Message(
        "only root may do this",
        "Run the command as root, or try it on a simulated host with --simulate."),
    "not_freebsd": Message(
        "this is {system}, not FreeBSD; --simulate tries it on a simulated host",
        "vimage acts on a FreeBSD kernel only."),
    "jailed": Message(
        "inside a jail",
        "vimage serves the host. A jail that shares the host's root must not start it again."),
    "too_old": Message(
        "kern.osreldate is {release}: older than FreeBSD 13.2 ({oldest})",
        "Upgrade the host."),
    "no_vimage": Message(
        "this kernel has no VIMAGE (sysctl kern.features.vimage)",
        "Every GENERIC kernel since 12.0 has it. Add options VIMAGE to your kernel."),
    "module_missing": Message(
        "kernel module {module}: {why}",
        "It could not be loaded. A securelevel above 0 forbids it: load it from loader.conf."),
    # -- a vimage on this host -----------------------------------------------------------
    "root_missing": Message(
        '{variable}="{value}": {why}; allowed: an existing directory',
        "The root directory does not exist, or is not a directory."),
    "parent_missing": Message(
        "{variable}: no interface {parent} on this host (known: {have})",
        "The interface to bridge to does not exist, and is not listed in vimage_bridge_list."),
    "parent_not_ether_of": Message(
        "{variable}: {parent} is not an Ethernet interface",
        "Only an interface with an ng_ether(4) node can be bridged."),
    "vnet_missing": Message(
        "{variable}: no interface {interface} on this host (known: {have})",
        "The interface to move in does not exist, or another jail has it."),
    "interface_taken": Message(
        "{name}: interface {interface} exists already",
        "This vimage did not make it. Rename or destroy the interface."),
    "node_taken": Message(
        "{name}: netgraph node {node} exists already",
        "This vimage did not make it. Rename the node or shut it down with ngctl(8)."),
    "jail_taken": Message(
        "{name}: a jail of that name exists already (jid {jid})",
        "vimage did not make it. Remove it with jail -r, or choose another name."),
    "jail_dying_still": Message(
        "{name}: a jail of that name is still dying (jid {jid})",
        "The kernel frees it when its last connection or open file is gone."),
    "ruleset_missing": Message(
        '{variable}="{value}": the ruleset has no rules; allowed: a ruleset that is loaded '
        '(devfs rule showsets)',
        "Mounted with an empty ruleset, devfs would show every disk. service devfs start loads "
        "the rulesets of devfs.rules(5)."),
    "limit_memory": Message(
        "{count} vimages need {need} of kernel memory, this host has {have} in all",
        "Each has a network stack of its own, about 2 MB. docs/limits.md has the loader "
        "settings that make it smaller."),
    "limit_nodes": Message(
        "{count} netgraph nodes: their list does not fit into kern.ipc.maxsockbuf={have}; "
        "allowed: {need} or more",
        "The service could not see which nodes there are. Set kern.ipc.maxsockbuf in "
        "sysctl.conf(5)."),
    "limit_processes": Message(
        "{count} processes of vimages at once, kern.maxproc={have}",
        "Set kern.maxproc in loader.conf(5)."),
    "limit_shutdown": Message(
        '{variable}="{value}" is longer than rcshutdown_timeout="{have}"',
        "When the host shuts down, rc(8) would end before the vimage has stopped. Set "
        "rcshutdown_timeout in rc.conf(5)."),
    "no_racct": Message(
        '{variable}="{value}": resource accounting is off on this host',
        "Set kern.racct.enable=1 in loader.conf(5) and reboot the host."),
    "mount_point_of": Message(
        "{name}: mount point {directory}: {why}",
        "The directory is missing or is a symbolic link, which is never followed."),
    "service_harmful": Message(
        "{variable}: {service} in a root shared with the host: {why}",
        "A service in a shared root shares /var/run and the files of the host."),
    "boot_full_shared": Message(
        '{variable}="full" with the root / starts every service of the host again',
        "Give the vimage a root of its own, or boot only its network."),
    "no_boundary": Message(
        "{name}: the root is /, so this vimage is not a security boundary",
        "Whoever is root in it can write the files of the host."),
    "no_shell": Message(
        '{name}: no /bin/sh in {root}; install a userland there, or set {variable}="none"',
        "The boot command needs a shell in the jail."),
    "unknown_name": Message(
        "{name}: no such vimage (known: {have})",
        "No vimage of that name is configured or running."),
    # -- state ---------------------------------------------------------------------------
    "state_unwritable": Message(
        "{path}: cannot write the state: {why}",
        "Without its record a vimage could not be taken down again, so nothing is started. "
        "Free space in the file system, or run as root."),
    "state_busy": Message(
        "{path}: another vimage command is at work",
        "Two commands never act at once. Try again when the other has finished."),
    "state_damaged": Message(
        "{path}: damaged, set aside: {why}",
        "The record of a vimage cannot be trusted. It was moved to the directory aside; what "
        "it described has to be taken down by hand (jls, ngctl list, mount)."),
    "state_unreadable": Message(
        "{path}: {why}",
        "The record of a vimage, or of something that vimages share, cannot be read. It is left "
        "as it is, and so is what it describes."),
    "state_newer": Message(
        "{name}: unknown to this version: vimage {by} has written its record, this is vimage "
        "{have}; install vimage {by}",
        "The package was downgraded while the vimage ran, or its bridge was made by a newer "
        "version. It is left as it is."),
    "service_stopping": Message(
        "the service is stopping",
        "Nothing is started any more: the host goes down, or the service was told to end."),
    # -- steps ---------------------------------------------------------------------------
    "step_failed": Message(
        "{name}: {why}",
        "A step of the start failed. Those before it were undone."),
    "undo_failed": Message(
        "{name}: could not undo: {step}: {why}",
        "The step stays in the record; stopping the vimage again tries once more. A command "
        "that failed is not run again."),
    "depend_failed": Message(
        "{name}: skipped, because {other} is not ready",
        "The vimage named in vimage_NAME_depend did not start."),
    "look_failed": Message(
        "{name}: the host cannot be checked: {why}",
        "The kernel did not answer a question that has to be answered before the vimage is "
        "touched. Try again."),
    "host_look_failed": Message(
        "the host cannot be checked: {why}",
        "The kernel did not answer a question that has to be answered first. Try again."),
    "start_interrupted": Message(
        "{name}: start interrupted by stop",
        "A stop, a restart or the shutdown of the host was asked for while the vimage was being "
        "started. What the start had done is undone."),
    "restart_stops": Message(
        "{name}: not restarted: {other}, which depends on it, could not be started again",
        "A restart stops what depends on the vimage, too. Correct the configuration of that "
        "vimage first, or stop it."),
    "jail_none": Message(
        "{name} has no jail",
        "The command is for the jail of the vimage, and the vimage has none now."),
    "command_lost": Message(
        "{what}: its end is not known: {why}",
        "The process of vimage that starts commands was killed. The command may have done its "
        "work or not; it is not run again."),
    "command_not_started": Message(
        "{what}: {command}: {why}",
        "The program is missing or cannot be executed, in the jail where it runs there."),
    "command_failed": Message(
        "{what}: {status}",
        "The command itself failed. Its output is in the console log."),
    "command_timeout": Message(
        "{what}: not finished within {seconds} s, ended",
        "The command took longer than start_timeout or stop_timeout and was ended."),
    "consolelog_unwritable": Message(
        "console log {path}: {why}",
        "The file cannot be opened for appending. A symbolic link in its place is refused."),
    "jail_exists": Message(
        "a jail named {name} exists already",
        "It was not made by vimage. Remove it (jail -r) or choose another name."),
    "jail_dying": Message(
        "jail {name} (jid {jid}) is still dying after {seconds} s",
        "Something in the kernel holds it: a TCP connection, a mount, an open file. Its "
        "interfaces come back when the kernel frees it."),
    "mount_point": Message(
        "mount point {directory}: {why}",
        "The directory is missing or is a symbolic link, which is never followed."),
    "mount_taken": Message(
        "{directory}: a {fstype} is mounted there already, not by vimage",
        "A second one would hide the first. Unmount it."),
    "mount_differs": Message(
        "{directory}: another vimage has something else mounted there",
        "Vimages that share a root must agree on what is mounted in it."),
    "mount_failed": Message(
        "mount {fstype} on {directory}: {why}",
        "The kernel refused; the last words are its own."),
    "mount_astray": Message(
        "mount {fstype} on {directory}: it did not arrive there",
        "Something changed the path while it was being mounted."),
    "unmount_failed": Message(
        "unmount {directory}: {why}",
        "Not even by force. The mount stays in the record."),
    "fstab_unreadable": Message(
        "{file}: {why}",
        "The fstab of a vimage is there and cannot be read."),
    "fstab_line": Message(
        "{where}: {why}",
        "A line of the fstab of a vimage is not of the form of fstab(5), or mounts outside "
        "the root directory."),
    "parent_not_ether": Message(
        "{parent}: no Ethernet interface that netgraph knows",
        "Only an interface with an ng_ether(4) node can be bridged."),
    "parent_busy": Message(
        "{parent}: its lower hook is taken by {node}",
        "Another netgraph node sits on the interface."),
    "bridge_name_taken": Message(
        "{parent}: a bridge node {node} exists that is not on this interface",
        "Remove or rename that node."),
    "bridge_gone": Message(
        "the bridge of {parent} has gone",
        "It was shut down while the vimage was being started."),
    "bridge_still_used": Message(
        "an interface of this vimage is still on the bridge of {bridge}",
        "The interface could not be taken away; the bridge waits for it."),
    "name_taken": Message(
        "{name}: an interface or a netgraph node has that name",
        "A name found on the host is never acted on. Remove or rename what has it."),
    "not_returned": Message(
        "{interface}: did not come back from the jail (there it is {inside}): {why}",
        "It comes back when the kernel frees the jail."),
    "interface_moving": Message(
        "{name}: is not back from the jail, which has gone",
        "The kernel brings it back when it frees the jail; taking it away before could panic "
        "the kernel. Stop the vimage again later."),
    "not_renamed": Message(
        "{interface}: cannot get its name {name} back: {why}",
        "Another interface of the host has that name by now."),
    "address_failed": Message(
        "{what}: {why}",
        "The kernel refused an address or a route inside the vimage."),
}


class Problem(NamedTuple):
    """One error or warning: about a variable, a vimage or the host."""

    key: str  # of MESSAGES
    fields: tuple[tuple[str, Any], ...] = ()
    vimage: str = ""  # which vimage it keeps from starting; "" for all
    warning: bool = False

    @classmethod
    def of(cls, key: str, /, *, vimage: str = "", warning: bool = False, **fields: Any) -> Problem:
        return cls(key, tuple(fields.items()), vimage, warning)

    def __str__(self) -> str:
        return MESSAGES[self.key].text.format(**dict(self.fields))


class VimageError(Exception):
    """A failure that has a place in MESSAGES."""

    def __init__(self, key: str | Problem, /, **fields: Any) -> None:
        self.problem = key if isinstance(key, Problem) else Problem.of(key, **fields)
        super().__init__(str(self.problem))
