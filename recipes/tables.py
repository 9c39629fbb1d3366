"""A measured recipe as text: rows for the terminal, CSV, Markdown, and an object for JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from avr.core import as_text, write_whole

from .measuring import needs_folds
from .outcome import Outcome, Runs, deviation_of, mean_of

TABLES = ("table.csv", "table.md", "table.json")


def table_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """The table's cells as printed, its header first: row, paper, measured ± spread, runs; "-" where there is none.

    The paper's figure is in brackets where it is no measure of the row, and why is a line below the table. What rows
    had before they were trained end to end has a column of its own, where there is such a row.
    """
    tuned = any(measured.before for measured in outcome.rows)
    rows: list[tuple[str, ...]] = [("row", "paper", *(("before",) if tuned else ()), "measured", "runs")]
    for measured in outcome.rows:
        # two decimals where the paper prints two
        figure = "-" if measured.figure is None else f"{measured.figure:.2f}".removesuffix("0")
        figure = f"({figure})" if measured.aside else figure
        before = (_shown(measured.before),) if tuned else ()
        rows.append((measured.row.name, figure, *before, _shown(measured.values), str(len(measured.values))))
    return rows


def _shown(values: Runs) -> str:
    mean, spread = mean_of(values), deviation_of(values)
    return "-" if mean is None else f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def head_lines(outcome: Outcome) -> list[str]:
    """What stands above the table: title, conditions, notes."""
    conditions = (
        f"{outcome.dataset}, split {', '.join(outcome.splits)}, seed {', '.join(map(str, outcome.seeds))}, "
        f"{'the paper' + chr(39) + 's training settings' if outcome.settings == 'paper' else 'settings for small data'}"
    )
    if outcome.trials:
        conditions += f", then chosen by {outcome.trials} trials of each head on its split's training part"
    if outcome.finetuned:
        conditions += ", networks fine-tuned on each split's training part"
    lines = [outcome.recipe.title, conditions]
    if any(measured.figure is not None for measured in outcome.rows):
        lines.append(f"paper: {outcome.recipe.metric}")
    if outcome.dataset in outcome.recipe.datasets:
        lines += [f"note: {text}" for text in outcome.recipe.notes]
    return lines


def foot_lines(outcome: Outcome) -> list[str]:
    """What stands below it: rows that were left out or failed, and why, and where the stores are not the paper's."""
    reasons = [f"{measured.row.name}: {measured.reason}" for measured in outcome.rows if measured.reason]
    asides: dict[str, list[str]] = {}
    for measured in outcome.rows:
        if measured.aside:
            asides.setdefault(measured.aside, []).append(measured.row.name)
    rows = [m for m in outcome.rows if m.figure is not None]
    for aside, names in asides.items():
        reasons.append(
            f"paper's figure in brackets: {aside}" + (f" ({', '.join(names)})" if len(names) < len(rows) else "")
        )
    if any(measured.before for measured in outcome.rows):
        reasons.append("before: with the fine-tuned networks frozen; measured: head and networks trained end to end")
    learning = [m for m in outcome.rows if m.values and outcome.finetuned and needs_folds(m.row.fuse)]
    if any(m.row.fit == "out-of-fold" for m in learning):
        reasons.append("rules are fitted on out-of-fold scores of heads, but fine-tuned networks have seen every fold")
    if any(m.before for m in learning):
        reasons.append("rules are fitted on the scores that heads had before they were trained end to end")
    if outcome.finetuned and any(m.chosen for m in outcome.rows):
        reasons.append("settings are chosen by folds, but fine-tuned networks have seen every fold")
    return [*reasons, *_choices(outcome), *outcome.differences, *outcome.changed]


def _choices(outcome: Outcome) -> list[str]:
    """What was chosen for the rows of one training: a setting's one value, or those in the order of the runs."""
    rows: dict[str, list[str]] = {}
    for measured in outcome.rows:
        values: dict[str, list[str]] = {}
        for chosen in measured.chosen.values():
            for name, value in chosen.items():
                values.setdefault(name, []).append(f"{value:.3g}" if isinstance(value, float) else as_text(value))
        if values:
            alike = {name: len(set(found)) == 1 for name, found in values.items()}
            told = "; ".join(
                f"{name} {found[0] if alike[name] else ', '.join(found)}" for name, found in values.items()
            )
            if not all(alike.values()):
                told += f" (of {', '.join(f'seed {seed} split {split}' for seed, split in measured.chosen)})"
            rows.setdefault(told, []).append(measured.row.name)
    return [f"chosen, {', '.join(names)}: {told}" for told, names in rows.items()]


def as_csv(outcome: Outcome) -> str:
    """One line a row and one column a figure, numbers unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    runs = sorted({run for measured in outcome.rows for run in measured.values})
    before = sorted({run for measured in outcome.rows for run in measured.before})
    figures = [f"seed {seed} split {split}" for seed, split in runs]
    figures += [f"before: seed {seed} split {split}" for seed, split in before]
    writer.writerow(["row", "paper", "mean", "deviation", *figures])
    for measured in outcome.rows:
        summary = (measured.row.name, measured.figure, measured.mean, measured.deviation)
        own = [*map(measured.values.get, runs), *map(measured.before.get, before)]
        writer.writerow([*summary, *own])
    return text.getvalue()


def as_markdown(outcome: Outcome) -> str:
    """The printed table in Markdown."""
    lines = [f"## {outcome.recipe.title}", "", *head_lines(outcome)[1:], ""]
    header, *rows = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table_rows(outcome))
    lines += [header, "|" + " --- |" * len(table_rows(outcome)[0]), *rows]
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
            "measure": measured.row.measure,
            "aside": measured.aside or None,
            "runs": [
                {"seed": seed, "split": split, measured.row.measure: value}
                | ({"before": measured.before[seed, split]} if (seed, split) in measured.before else {})
                | ({"chosen": measured.chosen[seed, split]} if (seed, split) in measured.chosen else {})
                for (seed, split), value in measured.values.items()
            ],
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
        "finetuned": outcome.finetuned,
        "trials": outcome.trials,
        "differences": list(outcome.differences),
        "changed": list(outcome.changed),
        "rows": rows,
    }


def write_tables(outcome: Outcome, folder: Path) -> None:
    """Write table.csv, table.md and table.json, each whole."""
    texts = (as_csv(outcome), as_markdown(outcome), json.dumps(as_object(outcome), indent=2, allow_nan=False) + "\n")
    for name, text in zip(TABLES, texts, strict=True):
        with write_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
