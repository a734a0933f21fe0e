"""The command line: words to a verb, its options and its arguments.

One reader for every verb, those on the quick path included, and no abbreviations: an option
that could mean another one by and by is not guessed at.  It imports nothing but the table.
"""

from vimage.commands.verbs import BY_NAME, COMMON, HELP, VERSION, Option, Verb, unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class UsageError(Exception):
    """The command line means nothing; ``verb`` is the one it is about, if there is one."""

    def __init__(self, text: str, verb: "Verb | None" = None) -> None:
        super().__init__(text)
        self.verb = verb


class Line:
    """What a command line says."""

    def __init__(self, verb: "Verb | None") -> None:
        self.verb = verb  # None only with ``asks_for``
        self.arguments: list[str] = []
        self.options: dict[str, str] = {}  # by name; "" for a flag
        self.asks_for = ""  # "help" or "version"

    @property
    def names(self) -> "list[str]":
        """The arguments, each once, as names of vimages."""
        return list(dict.fromkeys(self.arguments))

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.options

    def value(self, name: str) -> "str | None":
        """The value of an option, None when it was not given."""
        return self.options.get(name)

    @property
    def simulated(self) -> bool:
        """Whether it is about a simulated host."""
        return self.has("simulate") or self.has("simulated_host")

    @property
    def alone(self) -> bool:
        """Whether the process is to act itself, whatever service runs."""
        return self.simulated or self.has("without_service")


def read(words: "Sequence[str]") -> Line:
    """Read a command line.  Raises UsageError."""
    line = Line(None)
    left = list(words)
    plain = False  # after --
    while left:
        word = left.pop(0)
        if plain or word == "-" or not word.startswith("-"):
            if line.verb is None:
                line.verb = _verb(word)
                continue
            line.arguments.append(word)
            if line.verb.rest:
                line.arguments += left[1:] if left[:1] == ["--"] else left
                break
        elif word == "--":
            plain = True
        elif _option(line, word, left):
            return line
    if line.verb is None:
        raise UsageError("a verb is missing")
    reason = unfit(line.verb, line.options, line.arguments)
    if reason:
        raise UsageError(reason, line.verb)
    return line


def _verb(word: str) -> Verb:
    verb = BY_NAME.get(word)
    if verb is None:
        from difflib import get_close_matches

        near = get_close_matches(word, BY_NAME, 1)
        raise UsageError(f"unknown verb {_shown(word)}"
                         + (f" (did you mean {near[0]}?)" if near else ""))
    return verb


def _option(line: Line, word: str, left: "list[str]") -> bool:
    """Take an option and its value.  True when it asks for help or the version."""
    flag, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    if flag in (HELP.flag, "-h", VERSION.flag) and not equals:
        line.asks_for = "version" if flag == VERSION.flag else "help"
        return True
    option = _known(line.verb, flag)
    if option is None and flag[:1] == "-" and flag[1:2] != "-" and len(flag) > 2:
        option = _known(line.verb, flag[:2])  # -fFILE
        if option is not None and option.value:
            flag, equals, value = flag[:2], "=", flag[2:]
        else:
            option = None
    if option is None:
        raise UsageError(f"unknown option {_shown(flag)}", line.verb)
    if not option.value:
        if equals:
            raise UsageError(f"{flag} takes no value", line.verb)
    elif not equals:
        if not left or left[0].startswith("-") and left[0] != "-":
            raise UsageError(f"{flag} needs {option.value}", line.verb)
        value = left.pop(0)
    if option.value and not value:
        raise UsageError(f"{flag} needs {option.value}", line.verb)
    if option.choices and value not in option.choices:
        raise UsageError(f"{flag} is one of {', '.join(option.choices)}, "
                         f"not {_shown(value)}", line.verb)
    line.options[option.name] = value
    return False


def _known(verb: "Verb | None", flag: str) -> "Option | None":
    """The option of that flag: after a verb its own before the common ones, before it only
    these."""
    for option in (*(verb.options if verb is not None else ()), *COMMON):
        if option.flag == flag:
            return option
    return None


def _shown(word: str) -> str:
    """A word as an error may repeat it: short, and no control characters."""
    return repr(word if len(word) <= 40 else f"{word[:40]}...")
