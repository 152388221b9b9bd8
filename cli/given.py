"""Which options stand on the command line itself, not in a configuration file."""

from __future__ import annotations

import typer


def given_options(context: typer.Context) -> set[str]:
    """Return the long names of the options on the command line."""
    given = set()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            given |= {name for name in parameter.opts if name.startswith("--")}
    return given
