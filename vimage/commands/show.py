"""show: the configuration of a vimage as resolved."""

from __future__ import annotations

from vimage.commands.context import Context
from vimage.commands.line import Line
from vimage.commands.output import complain, show_json
from vimage.configuration import render, yamlfiles
from vimage.messages import VimageError
from vimage.status import problems_of


def run(context: Context, line: Line) -> int:
    """Print it.  Raises VimageError("no_yaml")."""
    name = line.arguments[0]
    configuration = context.loaded.configuration
    vimage = configuration.vimages.get(name)
    if vimage is None:
        for problem in problems_of(context.loaded, name):
            complain(problem)
        return 2
    form = "json" if context.json else line.value("format") or "rc"
    if form == "rc":
        print("\n".join(render.rc_lines(vimage)))
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
