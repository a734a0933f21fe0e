"""Health checks: a command in the jail every vimage_NAME_health_interval seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from vimage.journal import CHANGING, READY, Entry, Record
from vimage.messages import VimageError
from vimage.service.watch import Lost
from vimage.steps.commands import SHELL
from vimage.steps.context import Host, StepContext
from vimage.steps.jails import jail_lives

#: The number of failures in a row that make a vimage unhealthy.
IN_A_ROW = 3


#: What says that the command ran and failed; anything else says nothing of the vimage.
_UNHEALTHY = frozenset({"command_failed", "command_timeout"})


class HealthChecks:
    """One task for each record that is ready and has a health command."""

    def __init__(self, host: Host, lost: Lost, recovered: Callable[[Record], None],
                 log: logging.Logger) -> None:
        self._host = host
        self._lost = lost
        self._recovered = recovered
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, record: Record) -> None:
        """Check a vimage from now on, as its record says."""
        self.end(record.name)
        if record.configuration.get("health"):
            self._tasks[record.name] = asyncio.create_task(
                self._check_on(record), name=f"health {record.name}")

    def end(self, name: str) -> None:
        """Stop checking a vimage; a command that runs is ended."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    def names(self) -> list[str]:
        """The vimages that are checked."""
        return list(self._tasks)

    async def close(self) -> None:
        """Stop all checks."""
        tasks = list(self._tasks.values())
        for name in list(self._tasks):
            self.end(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_on(self, record: Record) -> None:
        failures = 0
        while True:
            await asyncio.sleep(record.configuration["health_interval"])
            if record.state not in (READY, CHANGING) \
                    or self._host.journal.records.get(record.name) is not record:
                return  # it belongs to another jail by now
            if not self._jail_lives(record):
                return
            why = await self._check(record)
            if why is None:
                if failures >= IN_A_ROW:
                    self._recovered(record)
                failures = 0
            elif why:
                failures += 1
                if failures == IN_A_ROW:
                    self._lost(record, f"unhealthy: {why}", broken=False)

    def _jail_lives(self, record: Record) -> bool:
        """Nothing is run in a jail that has only the number of the vimage's."""
        context = StepContext(self._host, record, Entry("health", {}))
        try:
            if jail_lives(context):
                return True
        except OSError as error:
            self._log.warning("%s: its jail cannot be looked at: %s", record.name, error.strerror)
            return True
        self._lost(record, f"jail {record.jid} has gone")
        return False

    async def _check(self, record: Record) -> str | None:
        """Why it is not healthy; None when it is, "" when that cannot be known."""
        context = StepContext(self._host, record, Entry("health", {}))
        try:
            await context.run_in_jail((*SHELL, record.configuration["health"]), "health",
                                      record.configuration["health_timeout"])
        except VimageError as error:
            if error.problem.key in _UNHEALTHY:
                return str(error)
            self._log.warning("%s: its health cannot be checked: %s", record.name, error)
            return ""
        except Exception:
            self._log.exception("%s: its health cannot be checked", record.name)
            return ""
        return None
