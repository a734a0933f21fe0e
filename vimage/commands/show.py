"""show: the configuration of a vimage as resolved."""

from __future__ import annotations

import argparse

from vimage.commands.context import Context
from vimage.commands.output import complain, show_json


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the verb."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--format", choices=("rc", "yaml", "json"), default="rc")
    parser.set_defaults(run=run)


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Print it."""
    from vimage.configuration import render, yamlfiles
    from vimage.messages import Problem, VimageError

    configuration = context.loaded.configuration
    vimages = configuration.vimages
    vimage = vimages.get(arguments.name)
    if vimage is None:
        for problem in context.loaded.problems_of(arguments.name) or [Problem.of(
                "unknown_name", name=arguments.name, have=" ".join(vimages) or "none")]:
            complain(problem)
        return 2
    form = "json" if context.json else arguments.format
    if form == "rc":
        print("\n".join(render.lines(render.settings(vimage))))
    elif form == "json":
        show_json(vimage.to_dict())
    else:
        try:
            yaml = yamlfiles.pyyaml()
        except ImportError as error:
            raise VimageError("no_yaml", package=yamlfiles.PACKAGE) from error
        print(yaml.safe_dump(render.for_yaml(vimage, configuration.bridges.values()),
                             sort_keys=False, allow_unicode=True), end="")
    return 0
