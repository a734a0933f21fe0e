"""A simulated host with one configuration, on which processes of vimage come and go."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tests.engine.configurations import variables
from tests.lib import snapshot
from vimage.configuration.load import Loaded, loaded_from
from vimage.kernel.simulated import HostControl, SimulatedKernel, SimulatedProcesses
from vimage.kernel.simulated.virtual_time import run
from vimage.operation import Answer
from vimage.session import Session, open_session

ROOT, PARENT, OTHER = "/usr/jail/r", "em1", "igb1"
STATE = "/var/run/vimage"
THREADS = os.environ.get("VIMAGE_TEST_THREADS") == "1"


class Machine:
    """A simulated host that outlives its processes.

    ``threads``: the calls that sleep on a real host are made in threads, as there.  Unless a
    test says which, VIMAGE_TEST_THREADS=1 in the environment has them: every test of the
    engine and of the service runs both ways.
    """

    def __init__(self, directory: Path, kind: str, threads: bool = THREADS) -> None:
        self.directory = directory
        self.kernel = SimulatedKernel.open(directory, threads=threads)
        for path in ("bin", "dev/fd", "etc", "proc", "usr/sbin"):
            os.makedirs(self.kernel.path(f"{ROOT}/{path}"), exist_ok=True)
        for path in ("bin/sh", "bin/sleep", "usr/sbin/service"):
            Path(self.kernel.path(f"{ROOT}/{path}")).touch(mode=0o755)
        self.kernel.kld_load("ng_ether")
        self.kernel.boot_id()
        self.control = HostControl(self.kernel)
        self.before = self.look()
        self.variables = variables(kind, root=ROOT, parent=PARENT, other=OTHER)

    @property
    def loaded(self) -> Loaded:
        """The configuration on this host."""
        loaded = loaded_from(self.kernel, self.variables)
        assert loaded.errors == [], [str(p) for p in loaded.errors]
        return loaded

    def look(self) -> snapshot.Snapshot:
        """The host as it is, its state files included."""
        return snapshot.take(self.kernel, [f"{STATE}/vimages", f"{STATE}/shared"])

    def session(self, kernel=None, processes=None) -> Session:
        """A new process of vimage."""
        return open_session(kernel or self.kernel, processes or SimulatedProcesses(self.kernel),
                            logging.getLogger("test"), privileged=True)

    def start(self, session: Session | None = None) -> Answer:
        """``vimage start``."""
        return self._act("start", session)

    def stop(self, session: Session | None = None) -> Answer:
        """``vimage stop``."""
        return self._act("stop", session)

    def _act(self, verb: str, session: Session | None) -> Answer:
        session = session or self.session()

        async def act() -> Answer:
            await session.recover()
            return await getattr(session, verb)(self.loaded, [])

        try:
            return run(act())
        finally:
            session.journal.close()

    def recover(self) -> None:
        """What the next process does first."""
        session = self.session()
        try:
            run(session.recover())
        finally:
            session.journal.close()
