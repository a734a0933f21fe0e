"""What the kernel tells by itself: kqueue(2), and a PF_ROUTE socket for interfaces."""

from __future__ import annotations

import errno
import os
import select as select_
import socket
from typing import Any

from vimage.kernel import JailId
from vimage.kernel.freebsd import sockaddr
from vimage.kernel.freebsd.interface import messages

select: Any = select_  # the type checker may not run on FreeBSD

_EVFILT_JAIL, _NOTE_JAIL_REMOVE = -14, 0x10000000  # sys/event.h of 15 and newer
_RTM_IFANNOUNCE = 17
_SO_RERROR = 0x20000  # tell of messages that were lost
_MOST = 256  # events of one kevent(2)


class KernelEvents:
    """``vimage.kernel.Events``."""

    def __init__(self) -> None:
        self._kqueue = select.kqueue()
        self._route = socket.socket(sockaddr.AF_ROUTE, socket.SOCK_RAW, 0)
        self._route.setblocking(False)
        self._route.setsockopt(socket.SOL_SOCKET, _SO_RERROR, 1)
        self._told = select.poll()  # asking costs less than a read that fails
        self._told.register(self._route.fileno(), select.POLLIN)

    def _add(self, ident: int, filter_: int, flags: int, notes: int) -> None:
        event = select.kevent(ident, filter_, select.KQ_EV_ADD | flags, notes)
        if not self._kqueue.closed:  # a closed one says ValueError
            self._kqueue.control([event], 0)

    def fileno(self) -> int:
        if self._kqueue.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return int(self._kqueue.fileno())

    def watch_process(self, pid: int) -> None:
        self._add(pid, select.KQ_FILTER_PROC, select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)

    def watch_jail(self, jail: JailId) -> None:
        """A kernel without EVFILT_JAIL says EINVAL; a jail that has gone, ENOENT."""
        try:
            self._add(JailId(jail), _EVFILT_JAIL, select.KQ_EV_ONESHOT, _NOTE_JAIL_REMOVE)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ESRCH):
                raise

    def read(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while not self._kqueue.closed:
            events = self._kqueue.control(None, _MOST, 0)
            for event in events:
                if event.filter == select.KQ_FILTER_PROC:
                    found.append(("process", event.ident))
                elif event.filter == _EVFILT_JAIL:
                    found.append(("jail", event.ident))
            if len(events) < _MOST:
                break
        return found

    def interfaces(self) -> bool:
        announced = False
        while not self._kqueue.closed and self._told.poll(0):
            try:
                data = self._route.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some were lost
                    raise
                announced = True
                continue
            announced = announced or any(type_ == _RTM_IFANNOUNCE for type_, _ in messages(data))
        return announced

    def close(self) -> None:
        self._kqueue.close()
        self._route.close()
