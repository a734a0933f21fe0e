"""A host as its administrator finds it: a supervisor, services that come and go, commands.

As daemon(8) does, the supervisor puts a service in the place of one that ends in favour of
the installed version.  As the command does, ``start`` begins a service where there is none,
``stop`` and ``restart`` act without one, and who is told that a service is ending asks the
next.
"""

from __future__ import annotations

import asyncio
import gc
import io
from typing import Any

from tests.service.conftest import Host, Reply, decode, encode, listening
from vimage.commands.output import Printer
from vimage.service import wire

#: What a command says where no service answers and it cannot do without.
NO_SERVICE = "no service"


class Client:
    """One command, which may be killed."""

    def __init__(self, supervised: SupervisedHost, verb: str, names: tuple[str, ...],
                 **options: Any) -> None:
        self.supervised = supervised
        self.verb, self.names, self.options = verb, names, options
        self.sent = asyncio.Event()
        self.dead = False
        self._writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Reply:
        try:
            return await self._command()
        except (OSError, asyncio.IncompleteReadError):
            return Reply(-1, "", "the connection broke")

    async def _command(self) -> Reply:
        for _ in range(100):
            reply = await self._ask()
            if reply is not None and not reply.again and reply.events:
                return reply
            if reply is not None:  # it is ending, or hung up: wait for the end, or the next
                await self._next()
            if not listening(self.supervised.host.machine):
                if self.verb in ("start", "stop", "restart") and not self.options:
                    await self.supervised.begin(anew=True)
                    if self.verb != "start":
                        return await self._alone()
                else:
                    return Reply(0 if self.options else 1, "", NO_SERVICE)
        raise AssertionError("every service is ending")

    async def _next(self) -> None:
        for _ in range(400):
            if listening(self.supervised.host.machine) or self.supervised.service is None:
                return
            await asyncio.sleep(0.05)

    async def _alone(self) -> Reply:
        """``or_here``: what a service would answer that exists for this command only."""
        reply = await self._ask()
        assert reply is not None
        if self.verb != "stop" or self.names:
            client = Client(self.supervised, "stop", (), service_only=True)
            await client.task
        return reply

    async def _ask(self) -> Reply | None:
        try:
            reader, writer = await asyncio.open_unix_connection(
                self.supervised.host.machine.kernel.path(wire.SOCKET))
        except OSError:
            return None
        self._writer = writer
        try:
            writer.write(encode(self.verb, *self.names, **self.options))
            await writer.drain()
            self.sent.set()
            return decode(await reader.read(-1), Printer(
                self.verb, out=io.StringIO(), err=io.StringIO()))
        except ConnectionError:
            return Reply(-1, "", "it hung up")
        finally:
            writer.close()

    def die(self) -> None:
        """kill -9."""
        self.dead = True
        if self._writer is not None:
            self._writer.transport.abort()
        self.task.cancel()


class SupervisedHost:
    """A host with a supervisor that begins services, and at most one service."""

    def __init__(self, host: Host, kernel: Any = None, processes: Any = None) -> None:
        self.host = host
        self._kernel, self._processes = kernel, processes
        self.service: asyncio.Task[None] | None = None
        self.services = 0
        self._beginning = asyncio.Lock()

    async def begin(self, *, anew: bool = False) -> None:
        """Have a service."""
        async with self._beginning:
            if self.service is not None and not self.service.done():
                for _ in range(2000):
                    if listening(self.host.machine) or self.service is None \
                            or self.service.done():
                        break
                    await asyncio.sleep(0.05)
            if self.service is None or self.service.done():
                self.service = asyncio.create_task(self._supervise())
                while not listening(self.host.machine) and not self.service.done():
                    await asyncio.sleep(0.01)

    async def _supervise(self) -> None:
        again = True
        while again:
            self.services += 1
            service = self.host.new_service(self._kernel, self._processes)
            again = await service.run()
            del service
            await asyncio.sleep(0)
            gc.collect()  # the end of the process closes what it had accepted and not yet read

    async def settled(self) -> None:
        """Wait until the service has ended, or is there for good."""
        for _ in range(2000):
            if self.service is None or self.service.done() or listening(self.host.machine):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the service neither ends nor answers")

    async def end(self) -> None:
        """No service any longer."""
        await self.settled()
        if self.service is not None and not self.service.done():
            await Client(self, "stop", (), service_only=True).task
            async with asyncio.timeout(1000):
                await self.service
        elif self.service is not None:
            await self.service  # raises what it has died of
