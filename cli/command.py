"""What all commands share: help that teaches, `--quiet` and `--json`, and what is said where one is stopped."""

from collections.abc import Callable, Iterator

import click
from click.shell_completion import CompletionItem

from keras_unet3d.cli.terminal import reported, tell_in

# Headings of options in --help, in their order; "Output" has what every long command has.
_FIRST, OTHERS, _LAST = "Most used", "Options", "Output"
HEADINGS = (
    _FIRST,
    "Data and labels",
    "Network",
    "Patches",
    "Augmentation",
    "Training",
    "Tiles",
    "Labels that are written",
    "Machine",
    OTHERS,
    _LAST,
)


class Option(click.Option):
    """An option that stands under a heading of --help."""

    def __init__(self, *names, heading: str = OTHERS, **attributes):
        super().__init__(*names, **attributes)
        self.heading = heading


def _output(mode: str, text: str) -> Option:
    def asked_for(context: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            tell_in(context, mode)

    return Option([f"--{mode}"], is_flag=True, expose_value=False, callback=asked_for, help=text, heading=_LAST)


# What every command has that works for a while.
_OUTPUT = (
    _output("quiet", "Say nothing but faults."),
    _output("json", "Say what happens in JSON, an object a line, for programs."),
)


class Command(click.Command):
    """A command whose help shows an example, the options that matter most, and the others in groups."""

    first: tuple[str, ...] = ()
    example = ""
    stopped = ""

    def format_help_text(self, context, formatter):
        super().format_help_text(context, formatter)
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':>{formatter.current_indent}}{self.example}\n")

    def format_options(self, context, formatter):
        rows: dict[str, list] = {heading: [] for heading in HEADINGS}
        for param in self.get_params(context):
            if isinstance(param, click.Option) and (row := param.get_help_record(context)):
                usual = _LAST if {"--overwrite", "--resume", "--help"} & set(param.opts) else OTHERS
                heading = _FIRST if param.name in self.first else getattr(param, "heading", usual)
                rows[heading].append((param.name, row))
        rows[_FIRST].sort(key=lambda named: self.first.index(named[0]))
        for heading in filter(rows.get, HEADINGS):
            with formatter.section(heading):
                formatter.write_dl([row for _, row in rows[heading]])


class Working(Command):
    """A command that works for a while: it can be quiet, or speak JSON, and says what is kept where it is stopped."""

    def get_params(self, context):
        params = super().get_params(context)
        taken = {param.name for param in params} | {name for param in params for name in param.opts}
        return [*params, *(option for option in _OUTPUT if not taken & {option.name, *option.opts})]

    def invoke(self, context):
        with reported(self.stopped):
            return super().invoke(context)


class Greedy(Working):
    """A command whose repeatable options in `greedy` take all words up to the next option: --val A B."""

    greedy = ("--val",)

    def parse_args(self, context, arguments):
        return super().parse_args(context, list(_spread(arguments, self.greedy)))


def _spread(arguments: list[str], greedy: tuple[str, ...]) -> Iterator[str]:
    current = fresh = None
    for argument in [part for given in arguments for part in _separated(given, greedy)]:
        if argument.startswith("-"):
            current = fresh = argument if argument in greedy else None
        elif current and not fresh:
            yield current
        else:
            fresh = None
        yield argument


def _separated(argument: str, greedy: tuple[str, ...]) -> list[str]:
    name, equals, value = argument.partition("=")
    return [name, value] if equals and name in greedy else [argument]


def teaches(*first: str, example: str, stopped: str = "") -> Callable[[Command], Command]:
    """Say what the help of a command shows before all else, and what is kept of it where it is stopped.

    Args:
        first: names of the parameters that matter most.
        example: a call of it, that a test parses.
        stopped: what is kept, and how it goes on.
    """

    def add(command: Command) -> Command:
        command.first, command.example, command.stopped = first, f"unet3d-cli {example}", stopped
        return command

    return add


class _File(click.ParamType):
    """A file or a folder, or a word in its place; the shell completes files."""

    name = "path"

    def shell_complete(self, context, param, incomplete):
        return [CompletionItem(incomplete, type="file")]


class _Model(_File):
    """A run folder, a bundle or the name of a model; the shell completes names as well."""

    name = "model"

    def shell_complete(self, context, param, incomplete):
        from keras_unet3d.zoo.registry import local_names

        names = [CompletionItem(name) for name in local_names() if name.startswith(incomplete)]
        return [*names, *super().shell_complete(context, param, incomplete)]


FILE, MODEL = _File(), _Model()
