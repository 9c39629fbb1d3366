"""`avr completion`: the lines that teach a shell avr's commands, options and names."""

import click
from click.shell_completion import get_completion_class

SHELLS = "bash", "zsh", "fish"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what SHELL needs to complete commands, options, data sets, heads, rules, recipes and runs.

    bash: eval "$(avr completion bash)" in ~/.bashrc; zsh: eval "$(avr completion zsh)" in ~/.zshrc; fish: avr
    completion fish > ~/.config/fish/completions/avr.fish
    """
    root = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root, {}, "avr", "_AVR_COMPLETE").source())
