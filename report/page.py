"""`write_report`: one HTML page that needs nothing but itself."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from avr.core import UsageError, write_whole

from .drawing import bar, heat_map, line_chart
from .reading import Curve, Outcome, read_outcomes
from .tables import most_confused, per_class_accuracy

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.5rem;border-bottom:1px solid #ccc}h3{font-size:1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #eee}
th:first-child,td:first-child,td.name,th.name{text-align:left}tr.main td{font-weight:600}
td.bar{position:relative;min-width:9rem;text-align:left}
td.bar i{position:absolute;left:0;top:15%;height:70%;background:#9ecae9}td.bar b{position:relative;font-weight:400}
.scroll{overflow-x:auto}figure{display:inline-block;margin:0 1rem 1rem 0}
.legend{font-size:12px;max-width:420px}.legend i{display:inline-block;width:10px;height:10px;margin:0 4px 0 8px}
p.note{color:#555;font-size:13px}svg text{fill:#222}svg text[fill]{fill:#fff}
"""
TITLES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %"}
MAX_CURVES = 8  # lines in one chart; more cannot be told apart


@dataclass(frozen=True)
class Report:
    """Where the page was written, and what it tells, by run."""

    out: Path
    outcomes: list[Outcome]


def write_report(paths: list[Path], out: Path = Path("report.html")) -> Report:
    """Write one self-contained HTML page about runs or score files: no network, no scripts, figures as inline SVG.

    Shown: accuracy of every output in every split with mean and spread over the splits, accuracy by class side by side,
    a confusion matrix and the most confused pairs of each run's main output, and the learning curves.

    Args:
        paths: run folders or score files.
        out: the page.

    Raises:
        UsageError: a path that is missing or holds no scores, or `out` is a folder.
    """
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; name the page itself, such as {out / 'report.html'}")
    outcomes = read_outcomes(paths)
    with write_whole(out) as temporary:
        temporary.write_text(render(outcomes), encoding="utf-8")
    return Report(out, outcomes)


def render(outcomes: list[Outcome]) -> str:
    """The page's HTML."""
    data = ", ".join(sorted({outcome.dataset for outcome in outcomes if outcome.dataset})) or "runs"
    parts = [f"<h1>Report: {escape(data)}</h1>", "<h2>Accuracy</h2>", accuracy_table(outcomes)]
    parts += ["<h2>Accuracy by class</h2>", class_tables(outcomes)]
    for outcome in outcomes:
        parts.append(f"<h2>Confusion: {escape(outcome.name)}, {escape(outcome.main)}</h2>")
        parts.append(
            '<p class="note">Rows are the true classes, columns the predicted ones; blue is right, orange wrong, '
            "darker a larger share of the row. All splits together.</p>"
        )
        parts.append(f'<div class="scroll">{heat_map(outcome.confusion, outcome.class_names)}</div>')
        parts.append(confused_table(outcome))
    if any(outcome.curves for outcome in outcomes):
        parts.append("<h2>Learning curves</h2>")
        parts += [learning_curves(outcome) for outcome in outcomes if outcome.curves]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>avr report: {escape(data)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def accuracy_table(outcomes: list[Outcome]) -> str:
    """Every output of every run and split, and the mean over a run's splits; a run's main output is bold."""
    rows = []
    for outcome in outcomes:
        outputs = dict.fromkeys(name for by_output in outcome.rows.values() for name in by_output)
        for output in outputs:
            found = {split: values[output] for split, values in outcome.rows.items() if output in values}
            kind = ' class="main"' if output == outcome.main else ""
            for split, values in found.items():
                cells = "".join(f"<td>{100 * values[name]:.1f}</td>" for name in TITLES)
                rows.append(
                    f'<tr{kind}><td>{escape(outcome.name)}</td><td class="name">{escape(output)}</td>'
                    f'<td class="name">{escape(split)}</td><td>{outcome.videos[split]}</td>{cells}</tr>'
                )
            if len(found) > 1:
                cells = "".join(_mean_cell([values[name] for values in found.values()]) for name in TITLES)
                rows.append(
                    f'<tr{kind}><td>{escape(outcome.name)}</td><td class="name">{escape(output)}</td>'
                    f'<td class="name">mean of {len(found)}</td><td>{sum(outcome.videos.values())}</td>{cells}</tr>'
                )
    titles = "".join(f"<th>{TITLES[name]}</th>" for name in TITLES)
    head = f'<tr><th>run</th><th class="name">output</th><th class="name">split</th><th>videos</th>{titles}</tr>'
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _mean_cell(values: list[float]) -> str:
    return f"<td>{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}</td>"


def class_tables(outcomes: list[Outcome]) -> str:
    """Accuracy by class of each run's main output, runs with the same classes side by side, hardest class first."""
    alike: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault(outcome.class_names, []).append(outcome)
    tables = []
    for class_names, members in alike.items():
        accuracies = np.stack([per_class_accuracy(outcome.confusion) for outcome in members])  # (runs, K)
        # A class without videos has no accuracy: it comes last.
        order = np.argsort(np.nan_to_num(accuracies, nan=2.0).mean(axis=0), kind="stable")
        head = "".join(f'<th class="name">{escape(outcome.name)}, {escape(outcome.main)}</th>' for outcome in members)
        rows = "".join(
            f"<tr><td>{escape(class_names[label])}</td><td>{int(members[0].confusion[label].sum())}</td>"
            f"{''.join(bar(float(value)) for value in accuracies[:, label])}</tr>"
            for label in order
        )
        tables.append(f'<div class="scroll"><table><tr><th>class</th><th>videos</th>{head}</tr>{rows}</table></div>')
    return "".join(tables)


def confused_table(outcome: Outcome) -> str:
    """The pairs of classes that the main output confuses most."""
    names = outcome.class_names
    rows = "".join(
        f'<tr><td>{escape(names[true])}</td><td class="name">{escape(names[predicted])}</td><td>{count}</td>'
        f"<td>{share:.0%}</td></tr>"
        for true, predicted, count, share in most_confused(outcome.confusion)
    )
    if not rows:
        return "<p>No video is taken for another class's.</p>"
    head = '<tr><th>true class</th><th class="name">taken for</th><th>videos</th><th>of the class</th></tr>'
    return f"<h3>Most confused</h3><table>{head}{rows}</table>"


def learning_curves(outcome: Outcome) -> str:
    """Charts of the logs' columns over epochs, one chart for those that measure one thing: loss, accuracy, others."""
    shown = outcome.curves[:MAX_CURVES]
    charts = []
    for what in ("loss", "accuracy"):
        lines = {
            f"{curve.name} {column}" if column != what else curve.name: (curve.epochs, values)
            for curve in shown
            for column, values in curve.columns.items()
            if what in column
        }
        charts.append(line_chart(lines, title=f"{what} by epoch"))
    more = _more(outcome.curves)
    return f"<h3>{escape(outcome.name)}</h3>{more}{''.join(charts)}"


def _more(curves: list[Curve]) -> str:
    left = len(curves) - MAX_CURVES
    return f'<p class="note">The first {MAX_CURVES} of {len(curves)} networks are shown.</p>' if left > 0 else ""
