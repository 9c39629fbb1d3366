"""`avr completion`: the lines that teach a shell avr's commands, options and names."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what SHELL needs to complete commands, options, data sets, heads, rules, recipes and runs.

    bash: eval "$(avr completion bash)" in ~/.bashrc; zsh: eval "$(avr completion zsh)" in ~/.zshrc; fish: avr
    completion fish > ~/.config/fish/completions/avr.fish
    """
    root = click.get_current_context().find_root().command
    click.echo(SHELLS[shell](root, {}, "avr", "_AVR_COMPLETE").source())
