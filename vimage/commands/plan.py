"""plan: every step, in order, nothing touched."""

from __future__ import annotations

from collections.abc import Iterable

from vimage import plan as plans
from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.commands.output import complain, show_json
from vimage.messages import Problem
from vimage.order import with_dependencies
from vimage.status import problems_of, unknown_name
from vimage.steps.step import Step


def run(context: Context, line: Line) -> int:
    """Print the plan."""
    names = list(line.names)
    verb = names.pop(0) if names and names[0] in ("start", "stop") else "start"
    plan, problems = (_start if verb == "start" else _stop)(context, names)
    if context.json:
        show_json([{"name": name, "steps": steps} for name, steps in plan])
    else:
        for name, steps in plan:
            print(f"{name}:")
            for number, step in enumerate(steps, 1):
                print(f"{number:4}. {step}")
    for problem in problems:
        complain(problem)
    return 2 if problems and names else 1 if problems else 0


Plan = list[tuple[str, list[str]]]


def _start(context: Context, names: list[str]) -> tuple[Plan, list[Problem]]:
    loaded = context.loaded
    vimages = loaded.configuration.vimages
    wanted = names or loaded.configuration.list
    problems = [p for name in wanted if name not in vimages
                for p in problems_of(loaded, name)]
    good = with_dependencies([n for n in wanted if n in vimages], vimages)
    return [(name, [step.describe() for step in _expanded(
        context, plans.start(vimages[name], loaded.configuration)) if step.describe()])
        for name in good], problems


def _expanded(context: Context, steps: Iterable[Step]) -> Iterable[Step]:
    """With the lines of fstab in place of the step that reads it."""
    for step in steps:
        yield from step.expanded(context.kernel)


def _stop(context: Context, names: list[str]) -> tuple[Plan, list[Problem]]:
    records = context.journal().records
    wanted = names or list(reversed(records))
    problems = [unknown_name(name, records) for name in wanted if name not in records]
    return [(name, [step.describe_undo() for _, step in plans.stop(records[name])
                    if step.describe_undo()])
            for name in wanted if name in records], problems
