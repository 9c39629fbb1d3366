"""`write_report`: one HTML page that needs nothing but itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from numpy.typing import NDArray

from avr.core import Unwritten, WorkError, claim_file, write_whole

from .drawing import heat_map, line_chart, weights_map
from .reading import Outcome, read_outcomes

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
# All that is filled in is escaped, but for the drawings. A cell that is a float is a share: a bar with its percentage.
TEMPLATE = """
{%- macro table(head, rows, names=(0,), main=()) -%}
<table><tr>{% for cell in head %}<th{% if loop.index0 in names %} class="name"{% endif %}>{{ cell }}</th>{% endfor %}
</tr>{% for row in rows %}<tr{% if loop.index0 in main %} class="main"{% endif %}>{% for cell in row -%}
{% if cell is not float %}<td{% if loop.index0 in names %} class="name"{% endif %}>{{ cell }}</td>
{%- elif cell != cell %}<td class="bar">–</td>
{%- else %}<td class="bar"><i style="width:{{ '%.1f' % (100 * cell) }}%"></i><b>{{ '%.1f' % (100 * cell) }}</b></td>
{%- endif %}{% endfor %}</tr>{% endfor %}</table>
{%- endmacro -%}
<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
style-src 'unsafe-inline'; img-src data:"><meta name="viewport" content="width=device-width">
<title>avr report: {{ data }}</title><style>{{ style }}</style></head><body><h1>Report: {{ data }}</h1>
<h2>Accuracy</h2><div class="scroll">{{ table(accuracy.head, accuracy.rows, (0, 1, 2), accuracy.main) }}</div>
{% for run in outcomes if run.lack %}<p class="note">{{ run.name }}: {{ run.lack }}.</p>
{% endfor %}<h2>Accuracy by class</h2>
{% for head, rows in classes %}<div class="scroll">{{ table(head, rows, range(2, 99)) }}</div>{% endfor %}
{% for run in outcomes %}<h2>Confusion: {{ run.name }}, {{ run.main }}</h2>
<p class="note">Rows are the true classes, columns the predicted ones; blue is right, orange wrong, darker a larger
share of the row. All splits together.</p><div class="scroll">{{ drawn(run) }}</div>
{% set confused = confused_rows(run) %}{% if confused %}<h3>Most confused</h3>
{{ table(["true class", "taken for", "videos", "of the class"], confused, (0, 1)) }}
{% else %}<p>No video is taken for another class's.</p>{% endif %}{% endfor %}
{% for run in outcomes %}{% for split, picture in weights(run) %}<h2>Weights: {{ run.name }}{% if split %},
split {{ split }}{% endif %}</h2>
<p class="note">What each class takes from each stream; darker is more.</p><div class="scroll">{{ picture }}</div>
{% endfor %}{% endfor %}
{% if outcomes|selectattr("curves")|list %}<h2>Learning curves</h2>{% endif %}
{% for run in outcomes if run.curves %}<h3>{{ run.name }}</h3>
{% if run.curves|length > most %}
<p class="note">The first {{ most }} of {{ run.curves|length }} networks are shown.</p>{% endif %}
{{ charts(run) }}{% endfor %}</body></html>
"""


@dataclass(frozen=True)
class Report:
    """Where the page was written, and what it tells, by run."""

    out: Path
    outcomes: list[Outcome]


def write_report(paths: list[Path], out: Path = Path("report.html"), *, overwrite: bool = False) -> Report:
    """Write one self-contained HTML page about runs or score files: no network, no scripts, figures as inline SVG.

    Shown: accuracy of every output in every split with mean and spread over the splits, accuracy by class side by side,
    a confusion matrix and the most confused pairs of each run's main output, the weights of a fusion, and the learning
    curves.

    Args:
        paths: run folders or score files.
        out: the page; a former one is replaced.
        overwrite: whatever else is there may be replaced, too.

    Raises:
        UsageError: a path that is missing or holds no scores, or `out` is a folder or something else than a report.
        Unwritten: it cannot be written; the `Report` is with it.
    """
    claim_file(out, overwrite=overwrite, own=_is_page, kind="report")
    report = Report(out, read_outcomes(paths))
    try:
        with write_whole(out) as temporary:
            temporary.write_text(render(report.outcomes), encoding="utf-8")
    except WorkError as error:
        raise Unwritten(error, report) from error
    return report


def _is_page(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"<title>avr report: " in file.read(1024)


def render(outcomes: list[Outcome]) -> str:
    """The page's HTML."""
    page = Environment(autoescape=True).from_string(TEMPLATE)
    return page.render(
        data=", ".join(sorted({outcome.dataset for outcome in outcomes if outcome.dataset})) or "runs",
        style=Markup(STYLE),
        accuracy=accuracy_table(outcomes),
        classes=class_tables(outcomes),
        outcomes=outcomes,
        drawn=lambda outcome: Markup(heat_map(outcome.confusion, outcome.class_names)),
        confused_rows=confused_rows,
        weights=lambda outcome: [
            (split, Markup(weights_map(found, outcome.class_names, streams)))
            for split, (streams, found) in outcome.weights.items()
        ],
        charts=lambda outcome: Markup(learning_curves(outcome)),
        most=MAX_CURVES,
    )


def accuracy_table(outcomes: list[Outcome]) -> dict[str, list]:
    """Every output of every run and split, and the mean over a run's splits; `main` are the rows of main outputs."""
    rows: list[list[str]] = []
    main: list[int] = []
    for outcome in outcomes:
        for output in dict.fromkeys(name for by_output in outcome.rows.values() for name in by_output):
            found = {split: values[output] for split, values in outcome.rows.items() if output in values}
            before = len(rows)
            for split, values in found.items():
                figures = [f"{100 * values[name]:.1f}" for name in TITLES]
                rows.append([outcome.name, output, split, str(outcome.videos[split]), *figures])
            if len(found) > 1:
                shares = [100 * np.array([values[name] for values in found.values()]) for name in TITLES]
                means = [f"{share.mean():.1f} ± {share.std(ddof=1):.1f}" for share in shares]
                rows.append([outcome.name, output, f"mean of {len(found)}", str(sum(outcome.videos.values())), *means])
            main += range(before, len(rows)) if output == outcome.main else ()
    return {"head": ["run", "output", "split", "videos", *TITLES.values()], "rows": rows, "main": main}


def class_tables(outcomes: list[Outcome]) -> list[tuple[list[str], list[list[object]]]]:
    """Head and rows: accuracy by class of main outputs, runs of the same classes side by side, hardest class first."""
    alike: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault(outcome.class_names, []).append(outcome)
    tables = []
    for class_names, members in alike.items():
        accuracies = np.stack([per_class_accuracy(outcome.confusion) for outcome in members])  # (runs, K)
        # A class without videos has no accuracy: it comes last.
        order = np.argsort(np.nan_to_num(accuracies, nan=2.0).mean(axis=0), kind="stable").tolist()
        counts = members[0].confusion.sum(axis=1).tolist()
        rows = [[class_names[label], str(counts[label]), *accuracies[:, label].tolist()] for label in order]
        tables.append((["class", "videos", *(f"{outcome.name}, {outcome.main}" for outcome in members)], rows))
    return tables


def confused_rows(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """The pairs of classes that the main output confuses most."""
    names = outcome.class_names
    pairs = most_confused(outcome.confusion)
    return [(names[true], names[predicted], str(count), f"{share:.0%}") for true, predicted, count, share in pairs]


def learning_curves(outcome: Outcome) -> str:
    """Charts of the logs' columns over epochs, one chart for those that measure one thing: loss, accuracy."""
    charts = []
    for what in ("loss", "accuracy"):
        lines = {
            f"{curve.name} {column}" if column != what else curve.name: (curve.epochs, values)
            for curve in outcome.curves[:MAX_CURVES]
            for column, values in curve.columns.items()
            if what in column
        }
        charts.append(line_chart(lines, title=f"{what} by epoch"))
    return "".join(charts)


def per_class_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Accuracy `(K,)` of each class, from counts `(K, K)` with true classes as rows; NaN where a class has no video."""
    counts = confusion.sum(axis=1)
    right: NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(np.diag(confusion), counts, out=right, where=counts > 0)
    return right


def most_confused(confusion: NDArray, count: int = 10) -> list[tuple[int, int, int, float]]:
    """The pairs of classes most often taken for one another's.

    Args:
        confusion: counts `(K, K)`, row the true class, column the predicted one.
        count: how many pairs at most.

    Returns:
        (true class, predicted class, videos, share of the true class's videos), most videos first; ties by larger
        share, then by smaller class numbers. Pairs that never occur are left out.
    """
    sizes = confusion.sum(axis=1)
    pairs = [
        (int(true), int(predicted), int(confusion[true, predicted]), float(confusion[true, predicted] / sizes[true]))
        for true, predicted in np.argwhere(confusion > 0)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))[:count]
