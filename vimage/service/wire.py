"""The messages between the command and the service.

A request is one frame, an answer is several.  A frame is a type (one byte), the length of
its body (4 bytes, big-endian) and the body, a JSON object in ASCII.

====  ============================================================================
type  body
====  ============================================================================
``q`` a request: ``{"version":2,"verb":"start","names":["a"],"file":null,"options":{}}``
``v`` an event of the answer (``vimage/events.py``); ``end`` or ``again`` is the last
====  ============================================================================

The command has to be quick: this module imports nothing that Python has not loaded already,
and reads and writes JSON with ``_json``, the C part of ``json``.  The package itself would
bring ``re`` and ``enum`` along, which take as long to load as all the rest of the command.
"""

VERSION = 2
SOCKET = "/var/run/vimage/control"

REQUEST, EVENT = b"q", b"v"

#: Bytes of a request at most, header included.
LONGEST = 262_144

HEADER = 5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


def frame(kind: bytes, body: bytes) -> bytes:
    """One frame as bytes."""
    return kind + len(body).to_bytes(4, "big") + body


def split(buffer: bytes) -> "tuple[bytes, bytes, bytes] | None":
    """(type, body, rest) of the first whole frame, or None when it is not complete yet."""
    if len(buffer) < HEADER:
        return None
    end = HEADER + int.from_bytes(buffer[1:HEADER], "big")
    if len(buffer) < end:
        return None
    return buffer[:1], buffer[HEADER:end], buffer[end:]


def request(verb: str, names: "Iterable[str]" = (), file: "str | None" = None,
            options: "Iterable[str]" = ()) -> bytes:
    """The frame of a request; ``options`` are the names of those that are set."""
    quoted = _quote()
    body = (f'{{"version":{VERSION},"verb":{quoted(verb)},'
            f'"names":[{",".join(map(quoted, names))}],'
            f'"file":{quoted(file) if file else "null"},'
            f'"options":{{{",".join(f"{quoted(name)}:true" for name in options)}}}}}')
    return frame(REQUEST, body.encode("ascii"))


def event(event: "Mapping[str, Any]") -> bytes:
    """The frame of an event."""
    import json  # the service has it already

    return frame(EVENT, json.dumps(event, separators=(",", ":"), default=str).encode("ascii"))


def object_of(body: bytes) -> "dict[str, Any]":
    """The JSON object in the body of a frame.  Raises ValueError when it is not one."""
    try:
        found, _ = _scanner()(body.decode("utf-8"), 0)
    except (StopIteration, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


# -- version 1, before the events ------------------------------------------------------------
#
# Its request was the version, flags, file and words, separated by NUL; its answer was frames
# of text for stdout (o) and stderr (e) and the exit status (x).

def request_1(words: "Iterable[str]") -> bytes:
    """The frame of a request without flags and file, for a service of version 1."""
    return frame(REQUEST, "\0".join(["1", "", "", *words]).encode("ascii"))


def is_request_1(body: bytes) -> bool:
    """Whether a client of version 1 has sent this."""
    return body[:2] == b"1\0"


def refusal_1(text: str) -> bytes:
    """The whole answer to a client of version 1: a line on stderr and exit status 2."""
    return frame(b"e", text.encode("ascii")) + frame(b"x", b"2")


# -- JSON without the package json -------------------------------------------------------------

class _Plain:
    """What the scanner asks of a decoder: JSON as it is."""

    strict = False
    object_hook = object_pairs_hook = array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _scanner() -> "Callable[[str, int], tuple[Any, int]]":
    try:
        from _json import make_scanner

        return make_scanner(_Plain())  # type: ignore[arg-type]
    except (ImportError, AttributeError):  # another Python than CPython, or a later one
        from json import JSONDecoder

        return JSONDecoder(strict=False).raw_decode


def _quote() -> "Callable[[str], str]":
    try:
        from _json import encode_basestring_ascii

        return encode_basestring_ascii
    except ImportError:
        from json.encoder import py_encode_basestring_ascii

        return py_encode_basestring_ascii
