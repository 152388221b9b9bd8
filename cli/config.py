"""Defaults of options from configuration files: `supertile.toml` in the current folder, and the user's own.

A file has keys named as the long options, for all commands, and a table for each command:

    device = "cuda:0"
    [upscale]
    model = "Real_HAT_GAN"
    quality = 90
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .config_file import ConfigFile
from .console import USAGE, say
from .mistakes import UsageMistakeError

LOCAL_NAME = "supertile.toml"
CONFIG_VARIABLE = "SUPERTILE_CONFIG"

_NOT_IN_FILES = frozenset({"help", "version", "config", "no-config"})
# A folder from elsewhere may bring such a file, which must neither send images away nor choose what is written.
_NOT_IN_LOCAL_FILES = frozenset({"cluster", "overwrite", "csv", "json", "out", "output", "plot"})
_ORIGINS, _OFF = "supertile.origins", "supertile.no-config"


def user_file() -> Path:
    """Return the path of the user's own file, in the platform's place for settings."""
    return Path(typer.get_app_dir("supertile")) / "config.toml"


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes --config and --no-config, and its other defaults from configuration files.

    A line on standard error says what came from which file, unless the command is --quiet.
    """

    @wraps(command)
    def configured(context: typer.Context, config: Path | None, no_config: bool, **values: Any) -> None:
        if not values.get("quiet"):
            _print_origins(context)
        command(**values, **({"context": context} if takes_context else {}))

    own = inspect.signature(command, eval_str=True).parameters
    takes_context = "context" in own
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        *(each.replace(kind=keyword_only) for name, each in own.items() if name != "context"),
        inspect.Parameter("context", keyword_only, default=None, annotation=typer.Context),
        inspect.Parameter("config", keyword_only, default=None, annotation=_Config),
        inspect.Parameter("no_config", keyword_only, default=False, annotation=_NoConfig),
    ]
    configured.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    configured.__annotations__ = {each.name: each.annotation for each in parameters}
    return configured


def _load(context: typer.Context, given: Path | None) -> Path | None:
    """Make the values of files the defaults of all options that are not eager."""
    if context.resilient_parsing or context.meta.get(_OFF):
        return given
    try:
        if given is not None:
            files = [ConfigFile(given)]
        else:
            files = [ConfigFile(path) for path in (user_file(), Path(LOCAL_NAME)) if os.path.lexists(path)]
        values, origins = _defaults(context, files, local=None if given else Path(LOCAL_NAME))
    except UsageMistakeError as error:
        say(Console(stderr=True), str(error))
        raise typer.Exit(USAGE) from None
    context.default_map = values
    context.meta[_ORIGINS] = origins
    return given


def _forget(context: typer.Context, wanted: bool) -> bool:
    if wanted:
        context.meta[_OFF] = True
        context.default_map = {}
    return wanted


_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
        is_eager=True,
        callback=_load,
        help=f"File with defaults of options. Default: {LOCAL_NAME} in the current folder, then the user's "
        "supertile/config.toml.",
    ),
]
_NoConfig = Annotated[
    bool, typer.Option("--no-config", is_eager=True, callback=_forget, help="Read no file with defaults of options.")
]


def _defaults(
    context: typer.Context, files: Iterable[ConfigFile], *, local: Path | None
) -> tuple[dict[str, Any], dict[str, ConfigFile]]:
    """Return the values of a command's parameters by name, and the file of each.

    Args:
        context: of the command.
        files: the most important last.
        local: the file that may not set everything.

    Raises:
        UsageMistakeError: a key or a value is wrong.
    """
    own = str(context.info_name)
    group = context.parent.command if context.parent else None
    known = {name: _options(command) for name, command in getattr(group, "commands", {}).items()}
    known[own] = _options(context.command)
    values: dict[str, Any] = {}
    origins: dict[str, ConfigFile] = {}
    for file in files:
        forbidden = _NOT_IN_LOCAL_FILES if file.path == local else frozenset()
        _check_keys(file, known, forbidden)
        for table, settings in (("", file.general), (own, file.tables.get(own, {}))):
            for key, value in settings.items():
                if (parameter := known[own].get(_option(key))) is not None:
                    values[parameter.name] = _checked(context, parameter, file, key, value, table)
                    origins[parameter.name] = file
    return values, origins


def _check_keys(file: ConfigFile, known: Mapping[str, Mapping[str, Any]], forbidden: frozenset[str]) -> None:
    """Refuse tables of no command, keys of no option, and options that this file must not set."""
    anywhere = {option for options in known.values() for option in options}
    for table in file.tables:
        if table not in known:
            file.refuse(table, f"there is no command of this name{_near(table, known)}")
    for table, settings in {"": file.general, **file.tables}.items():
        options = known[table].keys() if table else anywhere
        for key in settings:
            if _option(key) not in options:
                of = f"supertile {table} has" if table else "there is"
                file.refuse(key, f"{of} no option --{_option(key)}{_near(_option(key), options)}", table)
            if _option(key) in forbidden:
                file.refuse(key, f"give it on the command line or in {user_file()}", table)


def _checked(context: typer.Context, parameter: Any, file: ConfigFile, key: str, value: Any, table: str) -> Any:
    """Return a value as the command line has it: True, False, or text. Raises UsageMistakeError."""
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            file.refuse(key, "this is true or false, without quotes", table)
        return value
    values = value if isinstance(value, list) and parameter.multiple else [value]
    if not all(isinstance(each, (str, int, float)) and not isinstance(each, bool) for each in values):
        file.refuse(key, "this is a text in quotes, or a number", table)
    texts = [os.path.expanduser(each) if isinstance(each, str) else str(each) for each in values]
    text = texts if parameter.multiple else texts[0]
    if key == "models" and not os.path.isdir(texts[0]):
        file.refuse(key, f"there is no folder {texts[0]}", table)
    if parameter.callback is None:  # else it would run twice
        try:
            parameter.process_value(context, text)
        except typer.BadParameter as error:
            file.refuse(key, error.message.rstrip("."), table)
    return text


def _print_origins(context: typer.Context) -> None:
    """Say which options have their values from which file."""
    by_file: dict[Path, list[str]] = {}
    for name, file in context.meta.get(_ORIGINS, {}).items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "DEFAULT_MAP":
            [parameter] = [each for each in context.command.params if each.name == name]
            long = next(each for each in parameter.opts if each.startswith("--"))
            by_file.setdefault(file.path, []).append(long)
    for path, names in by_file.items():
        say(Console(stderr=True), f"{path} sets {', '.join(names)}.")


def _options(command: Any) -> dict[str, Any]:
    """Return the options of a command by their long names, without dashes in front."""
    named: dict[str, Any] = {}
    for parameter in command.params:
        long = [name.removeprefix("--") for name in parameter.opts if name.startswith("--")]
        named |= {name: parameter for name in long if name not in _NOT_IN_FILES}
    return named


def _option(key: str) -> str:
    return key.replace("_", "-")


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
