"""The programs that simulated processes run: what each does, in virtual time.

A program that is not known here, but whose file exists, does nothing and succeeds.  A file
that begins with the line ``#!simulated`` is read as a script (see ``script``); beside the
commands of sh it may say ``sleep forever`` and ``trap '' TERM``.
"""

from __future__ import annotations

import asyncio
import operator
import os
import re
import signal as signals
from collections.abc import Awaitable, Callable
from dataclasses import replace

from vimage.kernel.simulated import rcconf, script
from vimage.kernel.simulated.running import SERVICES, Running

NOT_FOUND = 127
#: How long netif waits for duplicate address detection.
NETIF_SECONDS = 2.0


class Exit(Exception):
    """``exit N``: the whole script ends."""

    def __init__(self, status: int) -> None:
        self.status = status


Builtin = Callable[[Running, tuple[str, ...]], Awaitable[int]]


async def execute(process: Running, argv: tuple[str, ...]) -> int:
    """What execve(2) of ``argv`` leads to; the exit status."""
    path = process.find(argv[0])
    text = process.simulated_script(path)
    if text is not None:
        return await run_script(process, text)
    builtin = PROGRAMS.get(os.path.basename(path))
    return await builtin(process, argv[1:]) if builtin else 0


async def run_script(process: Running, text: str) -> int:
    """Run a script to its end."""
    try:
        commands = script.parse(text)
    except ValueError as error:
        process.write(f"sh: {error}\n")
        return 2
    status = 0
    try:
        for command in commands:
            if (command.after == "&&" and status) or (command.after == "||" and not status):
                continue
            process.status = status
            status = await _simple(process, tuple(
                str(status) if word == "$?" else word for word in command.words))
    except Exit as end:
        return end.status
    return status


async def _simple(process: Running, words: tuple[str, ...]) -> int:
    builtin = BUILTINS.get(words[0])
    if builtin is not None:
        return await builtin(process, words[1:])
    try:
        return await execute(process, words)
    except FileNotFoundError:
        process.write(f"sh: {words[0]}: not found\n")
        return NOT_FOUND
    except PermissionError:
        process.write(f"sh: {words[0]}: Permission denied\n")
        return NOT_FOUND - 1


# -- commands of sh -------------------------------------------------------------------


async def _true(process: Running, args: tuple[str, ...]) -> int:
    return 0


async def _false(process: Running, args: tuple[str, ...]) -> int:
    return 1


async def _exit(process: Running, args: tuple[str, ...]) -> int:
    raise Exit(int(args[0]) & 0xFF if args and args[0].isdecimal() else process.status)


async def _echo(process: Running, args: tuple[str, ...]) -> int:
    end = "" if args[:1] == ("-n",) else "\n"
    process.write(" ".join(args[1:] if not end else args) + end)
    return 0


async def _sleep(process: Running, args: tuple[str, ...]) -> int:
    if args[:1] == ("forever",):
        await asyncio.get_running_loop().create_future()
    if not args or not re.fullmatch(r"\d+(\.\d+)?", args[0]):
        process.write("usage: sleep number\n")
        return 1
    await asyncio.sleep(float(args[0]))
    return 0


async def _trap(process: Running, args: tuple[str, ...]) -> int:
    """``trap '' TERM``: signals that the process ignores from now on."""
    numbers = [signals.Signals[f"SIG{name.removeprefix('SIG')}"] for name in args[1:]]
    with process.kernel.state.operation():
        task = process.kernel.state.task(process.pid)
        if task is not None and args[:1] == ("",):
            ignores = tuple(sorted({*task.ignores, *map(int, numbers)}))
            process.kernel.state.put(replace(task, ignores=ignores))
    return 0


async def _test(process: Running, args: tuple[str, ...]) -> int:
    """test(1): numbers, texts and files."""
    words = args[:-1] if args[-1:] == ("]",) else args
    if len(words) == 2 and words[0] in ("-e", "-f", "-d", "-r", "-x"):
        return 0 if process.file(words[1]) else 1
    if len(words) == 3 and words[1] in COMPARISONS:
        try:
            return 0 if COMPARISONS[words[1]](int(words[0]), int(words[2])) else 1
        except ValueError:
            return 2
    if len(words) == 3 and words[1] in ("=", "!="):
        return 0 if (words[0] == words[2]) == (words[1] == "=") else 1
    return 0 if words and words[-1] and words[0] != "-z" else 1


COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne, "-lt": operator.lt, "-le": operator.le,
    "-gt": operator.gt, "-ge": operator.ge,
}


async def _exec(process: Running, args: tuple[str, ...]) -> int:
    raise Exit(await _simple(process, args) if args else 0)


BUILTINS: dict[str, Builtin] = {
    "true": _true, ":": _true, "false": _false, "exit": _exit, "echo": _echo,
    "sleep": _sleep, "trap": _trap, "exec": _exec, "[": _test, "test": _test,
}


# -- programs --------------------------------------------------------------------------------


async def _sh(process: Running, args: tuple[str, ...]) -> int:
    words = list(args)
    while words and words[0].startswith("-") and words[0] != "-c":
        words.pop(0)
    if words[:1] == ["-c"]:
        return await run_script(process, words[1] if len(words) > 1 else "")
    if not words:
        return 0
    return await _rc_script(process, words[0], tuple(words[1:]))


async def _rc_script(process: Running, path: str, args: tuple[str, ...]) -> int:
    text = process.simulated_script(path)
    if text is not None:
        return await run_script(process, text)
    known = SCRIPTS.get(path)
    if known is not None:
        return await known(process, args)
    match = re.fullmatch(r"/(?:usr/local/)?etc/rc\.d/([\w.-]+)", path)
    if match:
        return await _service(process, (match[1], *args))
    if process.file(path) is None:
        process.write(f"sh: {path}: No such file or directory\n")
        return 2
    return 0


async def _netif(process: Running, args: tuple[str, ...]) -> int:
    if args[:1] in (("start",), ("onestart",), ("quietstart",), ("restart",)):
        rcconf.configure_interfaces(process, only=args[1:])
        await asyncio.sleep(NETIF_SECONDS)
    return 0


async def _routing(process: Running, args: tuple[str, ...]) -> int:
    if args[:1] in (("start",), ("onestart",), ("quietstart",), ("restart",)):
        rcconf.configure_routes(process)
    return 0


async def _rc(process: Running, args: tuple[str, ...]) -> int:
    await _netif(process, ("start",))
    await _routing(process, ("start",))
    for name in rcconf.enabled_services(process):
        await _service(process, (name, "start"))
    return 0


async def _rc_shutdown(process: Running, args: tuple[str, ...]) -> int:
    state = process.kernel.state
    with state.operation():
        for task in list(state.tasks_in.get(process.jid, {}).values()):
            if task.service:
                state.end_task(task, 128 + signals.SIGTERM)
    return 0


SCRIPTS: dict[str, Builtin] = {
    "/etc/rc.d/netif": _netif, "/etc/rc.d/routing": _routing,
    "/etc/rc": _rc, "/etc/rc.shutdown": _rc_shutdown,
}


async def _service(process: Running, args: tuple[str, ...]) -> int:
    """service(8): an endless process of that name in this jail comes or goes."""
    if len(args) < 2:
        return 1
    name, verb = args[0], args[1]
    special = SCRIPTS.get(f"/etc/rc.d/{name}")
    if special is not None:
        return await special(process, args[1:])
    directory = next((d for d in ("/etc/rc.d", "/usr/local/etc/rc.d")
                      if process.file(f"{d}/{name}")), "")
    if not directory and name not in SERVICES:
        process.write(f"{name} does not exist in /etc/rc.d or the local startup\n"
                      f"directories (/usr/local/etc/rc.d), or is not executable\n")
        return 1
    text = process.simulated_script(f"{directory}/{name}") if directory else None
    if text is not None:
        return await run_script(process, text)
    return _daemon(process, name, verb)


def _daemon(process: Running, name: str, verb: str) -> int:
    state = process.kernel.state
    with state.operation():
        running = [task for task in state.tasks_in.get(process.jid, {}).values()
                   if task.service == name]
        action = re.sub(r"^(one|force|quiet|fast)", "", verb)
        if action == "start" and not running:
            process.kernel.new_task(process.jid, (f"/usr/sbin/{name}",), service=name)
            process.write(f"Starting {name}.\n")
        elif action == "stop" and running:
            process.write(f"Stopping {name}.\n")
            for task in running:
                state.end_task(task, 128 + signals.SIGTERM)
        elif action == "status":
            return 0 if running else 1
    return 0


async def _mount(process: Running, args: tuple[str, ...]) -> int:
    """mount(8) with -t and -o, in book-keeping."""
    words, options, fstype = list(args), "", "ufs"
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag in ("-t", "-o") and words:
            value = words.pop(0)
            fstype, options = (value, options) if flag == "-t" else (fstype, value)
    if len(words) != 2:
        process.write("usage: mount [-t fstype] [-o options] special node\n")
        return 1
    return _mount_from(process, fstype, options, words[0], words[1])


def _mount_from(process: Running, fstype: str, options: str, source: str, node: str) -> int:
    pairs = (option.partition("=") for option in options.split(",") if option)
    given = {name: value if equals else None for name, equals, value in pairs}
    try:
        directory = process.kernel.open_directory(process.root, node)
        try:
            process.kernel.mount(fstype, directory, {"from": source, **given})
        finally:
            os.close(directory)
    except OSError as error:
        process.write(f"mount: {node}: {error.strerror}\n")
        return 1
    return 0


PROGRAMS: dict[str, Builtin] = {
    "sh": _sh, "service": _service, "true": _true, "false": _false, "echo": _echo,
    "sleep": _sleep, "netif": _netif, "routing": _routing, "mount": _mount,
}
