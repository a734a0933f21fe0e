"""The messages between the command and the service.

A request is one frame, an answer is several.  A frame is a type (one byte), the length of
its body (4 bytes, big-endian) and the body (UTF-8).

====  ============================================================================
type  body
====  ============================================================================
``q`` request: version, flags, file, arguments, separated by NUL
``o`` text for stdout, as it is
``e`` text for stderr, as it is
``x`` the exit status in decimal; the last frame
====  ============================================================================

Flags are letters: ``t`` stdout is a terminal, ``r`` called by rc(8), ``j`` JSON,
``d`` the host is going down.  This module imports nothing: the command has to be quick.
"""

VERSION = "1"
SOCKET = "/var/run/vimage/control"

#: Bytes of a request at most, header included.
LONGEST = 262_144

HEADER = 5


def frame(kind: bytes, body: bytes) -> bytes:
    """One frame as bytes."""
    return kind + len(body).to_bytes(4, "big") + body


def request(flags: str, file: str, arguments: list[str]) -> bytes:
    """The frame of a request."""
    return frame(b"q", "\0".join([VERSION, flags, file, *arguments]).encode("utf-8", "replace"))


def split(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(type, body, rest) of the first whole frame, or None when it is not complete yet."""
    if len(buffer) < HEADER:
        return None
    end = HEADER + int.from_bytes(buffer[1:HEADER], "big")
    if len(buffer) < end:
        return None
    return buffer[:1], buffer[HEADER:end], buffer[end:]
