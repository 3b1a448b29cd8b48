"""The command `mountd`: finds the command that was asked for, runs it, and turns failures into one line and an exit
code.

The commands are in `mountd.commands`, each imported only when it runs, so that small ones stay fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click
from click.shell_completion import CompletionItem

from mountd import __version__
from mountd.errors import EXIT_FAILURE, MountdError, UserError, exit_code_of
from mountd.redaction import without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

# By what people want to do. Command: module, attribute, and the line for `mountd --help`, which would otherwise need
# every module.
GROUPS: dict[str, dict[str, tuple[str, str, str]]] = {
    "Stores": {
        "store": ("mountd.commands.store", "store", "Register stores and choose the active one."),
        "flavor": ("mountd.commands.flavor", "flavor", "Show the kinds of stores there are."),
    },
    "Mounts": {
        "mount": ("mountd.commands.mount", "mount", "Mount a store at a local path."),
        "unmount": ("mountd.commands.mount", "unmount", "Unmount a store, after its pending writes."),
        "status": ("mountd.commands.mount", "status", "Show what is mounted and how it is doing."),
        "top": ("mountd.commands.top", "top", "Watch what a mount is doing."),
        "dashboard": ("mountd.commands.dashboard", "dashboard", "Serve a page that shows what a mount is doing."),
    },
    "Artifacts": {
        "path": ("mountd.commands.artifact", "path", "Print the local path of an artifact's URI."),
        "uri": ("mountd.commands.artifact", "uri", "Print the URI of a local path under a mount."),
        "sync": ("mountd.commands.mount", "sync", "Wait until everything written is in the store."),
        "explain": (
            "mountd.commands.explain",
            "explain",
            "Explain what is cached of a file, and what it has cost.",
        ),
        "warm": ("mountd.commands.warm", "warm", "Fetch files into the local cache ahead of need."),
    },
    "This machine": {
        "doctor": ("mountd.commands.doctor", "doctor", "Find out what is wrong, and how to mend it."),
        "cache": ("mountd.commands.cache", "cache", "Show, clear or verify what lies on local disk."),
        "logs": ("mountd.commands.logs", "logs", "Show what a daemon has logged."),
        "completion": (
            "mountd.commands.completion",
            "completion",
            "Print the script that completes commands in a shell.",
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

# How a shell asks for completions; click's convention.
COMPLETION_VARIABLE = "_MOUNTD_COMPLETE"

EXIT_INTERRUPTED = 130  # what shells report for a process that SIGINT ended


class LazyCommands(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, _, text) in group.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return commands without importing them."""
        if not incomplete.startswith("-"):
            return [CompletionItem(name, help=COMMANDS[name][2]) for name in COMMANDS if name.startswith(incomplete)]
        return super().shell_complete(ctx, incomplete)


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="mountd", message="%(prog)s %(version)s")
def commands() -> None:
    """Mount an artifact store - a folder, S3, GCS, Azure - and work on it with plain files.

    \b
    Begin without any account: the store `default` is a folder of yours.
      mountd mount                       mount it at ~/mountd/default
      echo hello > ~/mountd/default/a    it is in the store when the command returns
      mountd unmount                     unmount it

    \b
    With an S3 bucket:
      mountd store register prod --path s3://my-bucket/artifacts
      mountd store set prod              make it the active store
      mountd mount                       mount it at ~/mountd/prod
      mountd path s3://my-bucket/artifacts/model.pt

    Help on a command: mountd COMMAND --help. Exit codes: docs/exit-codes.md.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; failures are printed as one line, bugs keep their traceback."""
    try:
        result = commands.main(arguments, prog_name="mountd", standalone_mode=False, complete_var=COMPLETION_VARIABLE)
        sys.stdout.flush()  # here, so that a reader that has gone away is met inside this block
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except MountdError as error:
        return _fail(str(error) or type(error).__name__, exit_code_of(error))
    except BrokenPipeError:
        # As for `mountd status | head -1`; the interpreter's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


def _usage(error: click.UsageError) -> int:
    # A bare `mountd` or `mountd store` is an error to click from version 8.2 on, whose message is the help page.
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        click.echo(error.format_message())
        return error.exit_code
    where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    return _fail(error.format_message() + where, error.exit_code)


def _fail(message: str, exit_code: int) -> int:
    click.echo(f"mountd: error: {' '.join(without_secrets(message).split())}", err=True)
    return exit_code
