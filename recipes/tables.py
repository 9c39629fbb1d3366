"""A measured recipe as text: rows for the terminal, CSV, Markdown, and an object for JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from avr.core import write_whole

from .running import Outcome

TABLES = ("table.csv", "table.md", "table.json")
HEADER = ("row", "paper", "measured", "runs")


def table_rows(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """The table's cells as printed: row, paper, measured ± spread, runs; "-" where there is none."""
    rows = []
    for measured in outcome.rows:
        mean, spread = measured.mean, measured.deviation
        # two decimals where the paper prints two
        figure = "-" if measured.figure is None else f"{measured.figure:.2f}".removesuffix("0")
        shown = "-" if mean is None else f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"
        rows.append((measured.row.name, figure, shown, str(len(measured.values))))
    return rows


def head_lines(outcome: Outcome) -> list[str]:
    """What stands above the table: title, conditions, notes."""
    conditions = (
        f"{outcome.dataset}, split {', '.join(outcome.splits)}, seed {', '.join(map(str, outcome.seeds))}, "
        f"{'the paper' + chr(39) + 's training settings' if outcome.settings == 'paper' else 'settings for small data'}"
    )
    lines = [outcome.recipe.title, conditions]
    if any(measured.figure is not None for measured in outcome.rows):
        lines.append(f"paper: {outcome.recipe.metric}")
    if outcome.dataset in outcome.recipe.datasets:
        lines += [f"note: {text}" for text in outcome.recipe.notes]
    return lines


def foot_lines(outcome: Outcome) -> list[str]:
    """What stands below it: rows that were left out or failed, and why, and where the stores are not the paper's."""
    reasons = [f"{measured.row.name}: {measured.reason}" for measured in outcome.rows if measured.reason]
    return [*reasons, *outcome.differences]


def as_csv(outcome: Outcome) -> str:
    """One line a row and one column a figure, numbers unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    runs = sorted({run for measured in outcome.rows for run in measured.values})
    writer.writerow(["row", "paper", "mean", "deviation", *(f"seed {seed} split {split}" for seed, split in runs)])
    for measured in outcome.rows:
        summary = (measured.row.name, measured.figure, measured.mean, measured.deviation)
        writer.writerow([*summary, *(measured.values.get(run) for run in runs)])
    return text.getvalue()


def as_markdown(outcome: Outcome) -> str:
    """The printed table in Markdown."""
    lines = [f"## {outcome.recipe.title}", "", *head_lines(outcome)[1:], ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table_rows(outcome)]
    below = foot_lines(outcome)
    return "\n".join([*lines, *([""] if below else []), *(f"- {line}" for line in below)]) + "\n"


def as_object(outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    rows = [
        {
            "row": measured.row.name,
            "paper": measured.figure,
            "mean": measured.mean,
            "deviation": measured.deviation,
            "runs": [{"seed": seed, "split": split, "top1": top1} for (seed, split), top1 in measured.values.items()],
            "reason": measured.reason or None,
            "failed": measured.failed,
        }
        for measured in outcome.rows
    ]
    return {
        "recipe": outcome.recipe.name,
        "title": outcome.recipe.title,
        "dataset": outcome.dataset,
        "splits": list(outcome.splits),
        "seeds": list(outcome.seeds),
        "settings": outcome.settings,
        "differences": list(outcome.differences),
        "rows": rows,
    }


def write_tables(outcome: Outcome, folder: Path) -> None:
    """Write table.csv, table.md and table.json, each whole."""
    texts = (as_csv(outcome), as_markdown(outcome), json.dumps(as_object(outcome), indent=2, allow_nan=False) + "\n")
    for name, text in zip(TABLES, texts, strict=True):
        with write_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
