"""The root command: finds the command files, turns avr's errors into one line and an exit code."""

import os
import sys
import traceback
from typing import Any

import click

import avr
from avr.commands._shell import Group
from avr.core import AvrError, Stopped, item_names, item_summary, load_item, say_loading, stoppable

# NumPy's products here are small: a second thread of theirs waits most of its time, and takes a core for it. Read when
# NumPy is loaded, which commands do; torch's threads are its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# As `avr --help` lists them; a command that is not named comes last.
ORDER = "datasets extract store heads fuse runs recipe attention finetune report predict demo".split()  # noqa: SIM905


class Root(Group):
    """Loads a command's file when it is called, and prints errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        known = item_names("avr.commands")
        return [name for name in ORDER if name in known] + [name for name in known if name not in ORDER]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in item_names("avr.commands"):
            return None
        command: click.Command = load_item("avr.commands", name, "command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and what each file's docstring says of itself; no command is imported, which keeps help instant."""
        told = {name: item_summary("avr.commands", name).partition(": ")[2] for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, text[:1].upper() + text[1:]) for name, text in told.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with stoppable(), say_loading("torch", "torchvision"):
                return super().invoke(ctx)
        except AvrError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            how, code = ("SIGTERM", error.exit_code) if isinstance(error, Stopped) else ("Ctrl-C", 130)
            click.echo(f"stopped by {how}: what is finished stays; run the same command again to go on", err=True)
            ctx.exit(code)
        except BrokenPipeError:  # `avr … | head` is no failure of ours
            sys.stderr.close()
            ctx.exit(0)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {type(error).__name__}: {error} (avr --debug … shows where)", err=True)
            ctx.exit(1)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(avr.__version__, prog_name="avr")
def main(debug: bool) -> None:
    """Video action recognition, offline in two stages.

    Stage 1, `extract`, runs once and writes features to a store. Stage 2, `heads` and `fuse`, runs a hundred times, in
    seconds, on the store alone.
    """
    # A thread that waits for another would else hold its core for milliseconds at each step, which another program on
    # that core, or another training, makes many times as long. Read when torch is imported, by children too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
