"""The table of verbs: what each is called, takes and means.

The command line, its usage and the check of a request go by this table.  The completions,
``extra_commands`` of rc.d/vimage and the synopses of vimage(8) are written from it by
``port/verbs.py``.

A verb is a row here and a module of ``vimage.commands`` with a function ``run``.  This module
is on the command's quick path, so it imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Option:
    """An option, or a flag where it has no ``value``."""

    def __init__(self, flag: str, meaning: str, *, value: str = "", name: str = "",
                 choices: "tuple[str, ...]" = (), excludes: "tuple[str, ...]" = (),
                 needs: str = "", without_names: bool = False, hidden: bool = False) -> None:
        self.flag = flag  # as it is typed
        self.meaning = meaning
        self.value = value or ("FORMAT" if choices else "")  # what it takes, "" for a flag
        self.name = name or flag.lstrip("-").replace("-", "_")  # in requests and arguments
        self.choices = choices  # the values it can have, () for any
        self.excludes = excludes  # names of options that cannot stand beside it
        self.needs = needs  # name of the option without which it means nothing
        self.without_names = without_names  # no name of a vimage can stand beside it
        self.hidden = hidden  # used by other parts of vimage; in no usage


class Verb:
    """A row of the table."""

    def __init__(self, name: str, synopsis: str, meaning: str, *, module: str = "",
                 options: "tuple[Option, ...]" = (), takes: str = "", least: int = 0,
                 most: "int | None" = 0, rest: bool = False, completes: str = "",
                 asked: bool = False, launches: bool = False, looks: bool = False,
                 rc: bool = False) -> None:
        self.name = name
        self.synopsis = synopsis  # what stands after the verb; capitals for what is filled in
        self.meaning = meaning
        self.module = module or name  # of vimage.commands
        self.options = options  # beside those of COMMON named in ``takes``
        self.takes = frozenset(takes.split())
        self.least, self.most = least, most  # arguments; most is None where there is no limit
        self.rest = rest  # what follows the first argument is a command with its own options
        self.completes = completes  # what the arguments are: "names", "files" or ""
        self.asked = asked  # the service carries it out where one runs
        self.launches = launches  # a service is started where none runs
        self.looks = looks  # it changes nothing
        self.rc = rc  # also a command of service(8)

    def every_option(self) -> "list[Option]":
        """The options of this verb, the common ones first."""
        return [*(option for option in COMMON if option.name in self.takes), *self.options]


#: Options of several verbs; they may also stand before the verb.
COMMON = (
    Option("-f", "read FILE in place of rc.conf", value="FILE", name="file"),
    Option("--json", "answer in JSON"),
    Option("--simulate", "act on a simulated FreeBSD host; needs neither FreeBSD nor root"),
    Option("--simulated-host", "keep the simulated host in DIR; implies --simulate",
           value="DIR"),
    Option("--without-service", "act in this process, and start no service"),
    Option("--rc", "called by rc(8)", hidden=True),
)

_HELP = "print the usage of the command, or of the verb"

#: These two stand alone.
HELP, VERSION = Option("--help", _HELP), Option("--version", "print the version")

_SIMULATED = "simulate simulated_host"

VERBS = (
    Verb("start", "[NAME ...]", "start vimages; without NAME all of vimage_list",
         module="lifecycle", most=None, completes="names", asked=True, launches=True, rc=True,
         takes=f"file json {_SIMULATED} without_service"),
    Verb("stop", "[--service-only | --shutdown | NAME ...]",
         "stop vimages; without NAME all that run, and the service",
         module="lifecycle", most=None, completes="names", asked=True, rc=True,
         takes=f"file json {_SIMULATED} without_service",
         options=(
             Option("--service-only", "end the service; the vimages run on",
                    without_names=True, excludes=("shutdown", "file", "simulate",
                                                  "simulated_host", "without_service")),
             Option("--shutdown", "the host goes down: leave to the reboot what it undoes",
                    without_names=True))),
    Verb("restart", "[NAME ...]", "stop vimages and start them again",
         module="lifecycle", most=None, completes="names", asked=True, launches=True, rc=True,
         takes=f"file json {_SIMULATED} without_service"),
    Verb("status", "[NAME ...]", "print a table of the vimages and their states",
         most=None, completes="names", asked=True, looks=True, rc=True,
         takes=f"file json {_SIMULATED} without_service"),
    Verb("reload", "", "read rc.conf again and apply what can be applied live",
         module="asked", asked=True, rc=True, takes="file json"),
    Verb("reexec", "", "put the installed version in place of the running service",
         module="asked", asked=True, rc=True, takes="json"),
    Verb("plan", "[start | stop] [NAME ...]",
         "print every step of a start or stop, in order; nothing is touched",
         most=None, completes="names", looks=True, rc=True, takes=f"file json {_SIMULATED}"),
    Verb("check", "[NAME ...]", "print every error of the configuration and of this host",
         most=None, completes="names", looks=True, rc=True, takes=f"file json {_SIMULATED}"),
    Verb("graph", "[--format dot | svg | mermaid] [NAME ...]", "draw the network",
         most=None, completes="names", looks=True, rc=True, takes=f"file {_SIMULATED}",
         options=(Option("--format", "the form of the picture; dot is for Graphviz",
                         choices=("dot", "svg", "mermaid")),)),
    Verb("show", "[--format rc | yaml | json] NAME",
         "print the configuration of a vimage as resolved",
         least=1, most=1, completes="names", looks=True, rc=True, takes=f"file json {_SIMULATED}",
         options=(Option("--format", "the form of the answer", choices=("rc", "yaml", "json"),
                         excludes=("json",)),)),
    Verb("exec", "NAME COMMAND ...", "run a command in a vimage",
         module="enter", least=2, most=None, rest=True, completes="names", rc=True,
         takes=_SIMULATED),
    Verb("console", "NAME", "log in to a vimage as root",
         module="enter", least=1, most=1, completes="names", rc=True, takes=_SIMULATED),
    Verb("log", "[-f] [-n LINES] NAME", "print the end of the console log of a vimage",
         least=1, most=1, completes="names", looks=True, rc=True, takes=_SIMULATED,
         options=(Option("-f", "go on with what is added, until interrupted", name="follow"),
                  Option("-n", "how many lines, 10 if it is not given", value="LINES",
                         name="lines"))),
    Verb("import", "[--sysrc [-f FILE]] FILE ...",
         "print the vimage_* lines for what other tools are configured with",
         module="import_", least=1, most=None, completes="files",
         takes="json",
         options=(Option("--sysrc", "set the variables with sysrc(8) instead",
                         excludes=("json",)),
                  Option("-f", "set them in FILE in place of rc.conf", value="FILE",
                         name="file", needs="sysrc"))),
    Verb("service", "[--supervised]", "run the service in the foreground",
         takes=f"file {_SIMULATED}",
         options=(Option("--supervised", "daemon(8) is the parent: end it with the service"),)),
    Verb("demo", "[--keep DIR]", "play the life of two vimages on a simulated host",
         options=(Option("--keep", "leave the simulated host in DIR", value="DIR"),)),
)

BY_NAME = {verb.name: verb for verb in VERBS}


def unfit(verb: Verb, given: "Collection[str]", names: "Collection[str]") -> str:
    """Why the verb cannot have these options, by name, and names beside them; "" if it can.

    The command line and the service both go by this.
    """
    own = {option.name: option for option in verb.options}
    for option in (*(option for option in COMMON if option.name not in own), *verb.options):
        if option.name not in given:
            continue
        if option.name not in own and not _taken(verb, option, given):
            return f"{verb.name} does not take {option.flag}"
        if option.needs and option.needs not in given:
            return f"{option.flag} needs {own[option.needs].flag}"
        for other in option.excludes:
            if other in given:
                return f"{option.flag} and {_flag(verb, other)} cannot be used together"
        if option.without_names and names:
            return f"{option.flag} takes no names"
    if len(names) < verb.least:
        return f"{verb.name} needs {_missing(verb, len(names))}"
    if verb.most is not None and len(names) > verb.most:
        return (f"{verb.name} takes no arguments" if not verb.most else
                f"{verb.name} takes one {verb.synopsis.split()[-1]}")
    return ""


def _taken(verb: Verb, option: Option, given: "Collection[str]") -> bool:
    """Whether the verb takes a common option.  A simulated host is made from a FILE."""
    simulated = "simulate" in given or "simulated_host" in given
    return option.hidden or option.name in verb.takes or (
        option.name == "file" and simulated and "simulate" in verb.takes)


def _flag(verb: Verb, name: str) -> str:
    return next(option.flag for option in (*COMMON, *verb.options) if option.name == name)


def _missing(verb: Verb, count: int) -> str:
    """The argument that comes after so many."""
    words = [word for word in verb.synopsis.split() if word.isupper() and word.isalpha()]
    return words[min(count, len(words) - 1)]


def usage(verb: Verb) -> str:
    """How to call the verb."""
    return f"usage: vimage {verb.name}" + _options(verb) + f" {verb.synopsis}".rstrip()


def _options(verb: Verb) -> str:
    return "".join(
        f" [{option.flag}{' ' + option.value if option.value else ''}]"
        for option in COMMON if option.name in verb.takes and option.name not in (
            "simulate", "simulated_host"))


def help_of(verb: Verb) -> str:
    """The usage of one verb, with its options."""
    lines = [usage(verb), "", f"{verb.meaning[:1].upper()}{verb.meaning[1:]}."]
    options = [option for option in verb.every_option() if not option.hidden]
    if options:
        lines += ["", "Options:", *_columns((_spelling(o), o.meaning) for o in options)]
    return "\n".join(lines) + "\n"


def help_of_all() -> str:
    """The usage of the whole command."""
    return "\n".join((
        "usage: vimage [OPTION ...] VERB [ARGUMENT ...]",
        "       vimage -h | --help | --version", "",
        "Boot service for VNET jails wired with netgraph(4).", "",
        "Verbs:", *_columns((f"{verb.name} {verb.synopsis}".strip(), verb.meaning)
                            for verb in VERBS), "",
        "Options:", *_columns((_spelling(option), option.meaning)
                              for option in (*COMMON, HELP, VERSION) if not option.hidden), "",
        "vimage VERB --help has the options of a verb; vimage(8) is the manual.")) + "\n"


def _spelling(option: Option) -> str:
    if option.choices:
        return f"{option.flag} {' | '.join(option.choices)}"
    if option is HELP:
        return "-h, --help"
    return f"{option.flag} {option.value}".strip()


def _columns(rows: "Iterable[tuple[str, str]]") -> "list[str]":
    """Two columns; a long left side has the line to itself."""
    lines = []
    for left, right in rows:
        if len(left) > 20:
            lines += [f"  {left}", f"{'':24}{right}"]
        else:
            lines.append(f"  {left:<20}  {right}")
    return lines
