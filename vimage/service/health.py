"""Health checks: a command in the jail, every so often; 0 is healthy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vimage.journal import Entry, Record
from vimage.messages import VimageError
from vimage.service.watch import Gone
from vimage.steps.commands import SHELL
from vimage.steps.work import Tools, Work

#: So many failures in a row make a vimage unhealthy.
IN_A_ROW = 3


class Health:
    """One task for each vimage that has a health command."""

    def __init__(self, tools: Tools, gone: Gone,
                 recovered: Callable[[str], None] = lambda name: None) -> None:
        self._tools = tools
        self._gone = gone
        self._recovered = recovered
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, record: Record) -> None:
        """Check a vimage from now on."""
        if record.configuration.get("health") and record.name not in self._tasks:
            self._tasks[record.name] = asyncio.create_task(
                self._check(record), name=f"health {record.name}")

    def forget(self, name: str) -> None:
        """Check it no longer."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Check nothing any more."""
        for name in list(self._tasks):
            self.forget(name)

    async def _check(self, record: Record) -> None:
        configuration = record.configuration
        failures = 0
        while True:
            await asyncio.sleep(configuration["health_interval"])
            work = Work(self._tools, record, Entry("health", {}))
            try:
                await work.run_in_jail((*SHELL, configuration["health"]), "health",
                                       configuration["health_timeout"])
            except VimageError as error:
                failures += 1
                if failures == IN_A_ROW:
                    self._gone(record.name, f"unhealthy: {error}", broken=False)
            else:
                if failures >= IN_A_ROW:
                    self._recovered(record.name)
                failures = 0
