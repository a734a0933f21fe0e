"""The texts of every error and warning, in one place.

A message is a template with named fields and a sentence for the DIAGNOSTICS of the
manual.  ``Problem`` is one occurrence.  ``tests`` hold the table against the manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Message(NamedTuple):
    """``text`` is printed; ``meaning`` tells the administrator what to do."""

    text: str
    meaning: str


MESSAGES: dict[str, Message] = {
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
    # -- steps ---------------------------------------------------------------------------
    "step_failed": Message(
        "{name}: {step}: {why}",
        "A step of the start failed. Those before it were undone."),
    "undo_failed": Message(
        "{name}: could not undo: {step}: {why}",
        "The step stays in the record; stopping the vimage again tries once more. A command "
        "that failed is not run again."),
    "depend_failed": Message(
        "{name}: left out, because {other} is not ready",
        "The vimage named in vimage_NAME_depend did not start."),
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
    "name_taken": Message(
        "{name}: an interface or a netgraph node has that name",
        "A name found on the host is never acted on. Remove or rename what has it."),
    "not_returned": Message(
        "{interface}: did not come back from the jail (there it is {inside}): {why}",
        "It comes back when the kernel frees the jail."),
    "not_renamed": Message(
        "{interface}: cannot get its name {name} back: {why}",
        "Another interface of the host has that name by now."),
    "address_failed": Message(
        "{what}: {why}",
        "The kernel refused an address or a route inside the vimage."),
}


@dataclass(frozen=True)
class Problem:
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
