"""`mountd completion`: the script that has a shell complete commands, stores and mount points."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mountd.errors import UserError

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script for SHELL.

    \b
    For this shell, and for all that come:
      bash   eval "$(mountd completion bash)"     the same line in ~/.bashrc
      zsh    eval "$(mountd completion zsh)"      the same line in ~/.zshrc
      fish   mountd completion fish | source      mountd completion fish > ~/.config/fish/completions/mountd.fish
    """
    from mountd.cli import COMPLETION_VARIABLE, commands

    made = get_completion_class(shell)
    assert made is not None  # click has all of SHELLS
    try:
        click.echo(made(commands, {}, "mountd", COMPLETION_VARIABLE).source())
    except RuntimeError as exc:  # an old bash
        raise UserError(f"cannot complete in this {shell}: {exc}") from exc
