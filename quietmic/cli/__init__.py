"""The command line: one group, whose commands are loaded when they are asked for."""

import io
import signal
import sys
from importlib import import_module

import click

from quietmic import __version__
from quietmic.cli.hints import with_hint
from quietmic.cli.lines import one_line
from quietmic.cli.logs import shown_logs
from quietmic.enhance.errors import QuietmicError, told

COMMANDS = {  # name of a command: module of this package that holds it, in the order of the help
    "denoise": "denoise",
    "live": "live",
    "panel": "panel",
    "ctl": "live",
    "devices": "live",
    "board": "live",
    "models": "models",
    "demo": "demo",
    "evaluate": "evaluate",
    "bench": "bench",
    "plan": "bench",
    "report": "report",
    "listen": "report",
    "scenes": "training",
    "train": "training",
    "export": "training",
    "compress": "compress",
    "compare-criteria": "compress",
    "sweep": "compress",
}


class LazyGroup(click.Group):
    """Loads a command's module when the command is named."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this name, None where there is none."""
        if name not in COMMANDS:
            return None
        module = import_module(f"quietmic.cli.{COMMANDS[name]}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an option whose first value would be dropped for its second is refused."""
        name, command, rest = super().resolve_command(context, arguments)
        if command is not None:
            _refuse_repeated(click.Context(command, parent=context, info_name=name), rest)
        return name, command, rest


def _refuse_repeated(context: click.Context, arguments: list[str]) -> None:
    try:
        _, _, given = context.command.make_parser(context).parse_args(list(arguments))
    except click.UsageError:
        return  # the command says it better
    for option in given:
        takes_one = isinstance(option, click.Option) and not (option.multiple or option.is_flag or option.count)
        if takes_one and given.count(option) > 1:
            name, times = option.opts[-1], given.count(option)
            raise click.BadOptionUsage(name, f"{name} is given {times} times, but takes one value.", context)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Cleans speech: live from microphones, or in files and folders."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0 = done, 1 = some of the work failed, 2 = wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that it cannot print must not end the work
            stream.reconfigure(errors="backslashreplace")
    try:
        with shown_logs():
            result = cli.main(args=argv, prog_name="quietmic", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except QuietmicError as error:
        click.echo(f"Error: {one_line(with_hint(str(error), error.argument))}", err=True)
        return error.exit_code
    except OSError as error:  # a place that cannot be written, a full disk, a pipe that was closed
        click.echo(f"Error: {one_line(told(error))}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt, ImportError) as error:
        # A library in C++ that is interrupted while it is loaded says that this failed.
        if isinstance(error, ImportError) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        click.echo("Stopped.", err=True)
        return 1


def run() -> None:
    """Entry point of the console script."""
    # The default would end this process alone: its workers and what is half written would stay.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
