"""check: every error of the configuration and of this host, at once."""

from __future__ import annotations

from vimage import check as checks
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.commands.output import complain, show_json
from vimage.messages import Problem
from vimage.status import unknown_name


def run(context: Context, line: Line) -> int:
    """Print what is wrong.  0 when nothing is, 1 otherwise; warnings do not count."""
    problems = problems_of(context, line.names)
    errors = [problem for problem in problems if not problem.warning]
    if context.json:
        show_json([{"vimage": p.vimage, "warning": p.warning, "text": str(p)} for p in problems])
    else:
        for problem in problems:
            complain(problem)
        if not errors:
            print("no errors found")
    return 1 if errors else 0


def problems_of(context: Context, names: list[str]) -> list[Problem]:
    """The problems of the host, of the configuration, and of each vimage on this host."""
    loaded, kernel = context.loaded, context.kernel
    vimages = loaded.configuration.vimages
    records = context.journal().records if context.privileged else {}
    shared = context.journal().shared if context.privileged else {}
    wanted = names or list(loaded.names)
    problems = checks.host(kernel, privileged=context.privileged)
    problems += [p for p in loaded.problems if not p.vimage or p.vimage in wanted]
    problems += [p for p in checks.limits(kernel, loaded.configuration)
                 if not p.vimage or p.vimage in wanted]
    for name in wanted:
        if name in vimages and name not in records:
            problems += checks.jail(kernel, vimages[name])
            problems += checks.vimage(kernel, vimages[name], loaded.configuration, shared)
        elif name not in loaded.names:
            problems.append(unknown_name(name, loaded.names))
    return problems
