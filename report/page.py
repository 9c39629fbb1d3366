"""`write_report`: one HTML page that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import avr
from avr.core import Unwritten, WorkError, claim_file, write_whole

from . import charts
from .facts import extractions, run_facts, settings_table
from .judging import (
    baselines,
    difference,
    families,
    judge,
    own_differences,
    verdict,
)
from .looks import STEPS, Looks, Video, worth_a_look
from .reading import Outcome, read_outcomes
from .tables import (
    Table,
    accuracy_table,
    class_figures,
    class_table,
    confusion_table,
    difference_table,
    gain_table,
    pairs_table,
    split_table,
    weights_table,
)

HERE = Path(__file__).parent
MOST_CURVES = charts.COLOURS  # networks in one chart; more cannot be told apart
MOST_VIDEOS = 6  # of each kind, and run
TITLES = {
    "verdict": "What came out",
    "runs": "What was run",
    "accuracy": "Accuracy",
    "calibration": "Calibration",
    "weights": "Weights of the fusions",
    "classes": "Classes",
    "confusion": "Confusion",
    "curves": "Learning curves",
    "videos": "Videos worth a look",
    "extraction": "Extraction",
}


@dataclass(frozen=True)
class Report:
    """Where the page was written, and what it tells, by run."""

    out: Path
    outcomes: list[Outcome]


def write_report(paths: list[Path], out: Path = Path("report.html"), *, overwrite: bool = False) -> Report:
    """Write one self-contained HTML page about runs or score files: nothing is loaded from elsewhere.

    Shown: what was run and a verdict; accuracies with intervals, and paired differences from the untrained rules and
    between runs of the same videos; calibration; a fusion's weights; accuracy, precision and gain by class; confusion;
    learning curves; the hardest and the most confidently wrong videos, with pictures and attention where the videos are
    at hand; how extraction went. Tables sort and filter, and each, but for those of single videos, has its numbers as
    CSV in the page.

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
    page = render(report.outcomes)
    try:
        with write_whole(out) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    except WorkError as error:
        raise Unwritten(error, report) from error
    return report


def _is_page(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"<title>avr report: " in file.read(1024)


def render(outcomes: Sequence[Outcome]) -> str:
    """The page's HTML."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    loader = FileSystemLoader(HERE)
    page = Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True).get_template(
        "page.html"
    )
    found = _sections(outcomes)
    return page.render(
        found,
        data=", ".join(sorted({outcome.dataset for outcome in outcomes if outcome.dataset})) or "runs",
        contents=[(name, title) for name, title in TITLES.items() if found.get(_NEEDS.get(name, ""), True)],
        version=avr.__version__,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        frame={name: getattr(charts, name.upper()) for name in ("width", "height", "left", "right", "top", "bottom")},
        most_curves=MOST_CURVES,
    )


_NEEDS = {"weights": "weights", "curves": "curves", "extraction": "extractions"}  # sections that may be empty


def _sections(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the sections show."""
    figures = {outcome.name: judge(outcome) for outcome in outcomes}
    together = families(outcomes)
    looks = {outcome.name: worth_a_look(outcome, MOST_VIDEOS) for outcome in outcomes}
    album = _album(outcomes, looks)
    runs = [_run(f"r{number}", outcome, looks[outcome.name], album) for number, outcome in enumerate(outcomes, start=1)]
    return {
        "runs": runs,
        "verdicts": [verdict(family, figures) for family in together],
        "accuracy": accuracy_table(outcomes, figures),
        "differences": _differences(outcomes, together),
        "splits": split_table(outcomes) if any(len(outcome.splits) > 1 for outcome in outcomes) else None,
        "weights": [
            weights_table(outcome, split, *judged.weights)
            for outcome in outcomes
            for split, judged in outcome.splits.items()
            if judged.weights is not None
        ],
        "classes": [class_table(family) for family in together],
        "sure": [class_table(family, sure=True) for family in together],
        "gains": _gains(outcomes, together),
        "curves": any(run["curves"] for run in runs),
        "extractions": extractions(outcomes),
    }


def _differences(outcomes: Sequence[Outcome], together: Sequence[Sequence[Outcome]]) -> list[Table]:
    own = [(outcome.name, found) for outcome in outcomes for found in own_differences(outcome)]
    tables = [difference_table("Main outputs against their best stream and what needs no training", own)] if own else []
    for best, *others in together:
        found = [(best.name, difference(_main(best), _main(other), (best.name, other.name))) for other in others]
        if found:
            tables.append(difference_table(f"{best.name} against the other runs on the same videos", found))
    return tables


def _gains(outcomes: Sequence[Outcome], together: Sequence[Sequence[Outcome]]) -> list[Table]:
    """What each run gains over the better untrained rule (else its best stream), and the best run over the others."""
    tables = []
    for outcome in outcomes:
        other = list(baselines(outcome).values())[-1:]
        names = [(f"{outcome.name}, {outcome.main}", name) for name in other]
        tables += [gain_table(_main(outcome), (outcome, name[1]), name) for name in names]
    for best, *others in together:
        tables += [gain_table(_main(best), _main(other), (best.name, other.name)) for other in others]
    return tables


def _main(outcome: Outcome) -> tuple[Outcome, str]:
    return outcome, outcome.main


def _album(outcomes: Sequence[Outcome], looks: Mapping[str, Looks]) -> Any:
    """Pictures of videos, of each run as many bytes; torch, which attention needs, is loaded where there are any."""
    from .pictures import MOST_BYTES, Album

    album = Album()
    for number, outcome in enumerate(outcomes, start=1):
        album.room = MOST_BYTES * number // len(outcomes)
        album.take(outcome, looks[outcome.name])
    return album


def _run(id: str, outcome: Outcome, looks: Looks, album: Any) -> dict[str, Any]:
    """What the page shows of one run."""
    hardest, wrong = ([_card(outcome, video, album) for video in found] for found in (looks.hardest, looks.wrong))

    def shown(videos: Sequence[Video], count: int) -> list[tuple[Video, Any]]:
        pictures = [(video, album.frames.get((outcome.name, video.id, count))) for video in videos]
        return [(video, picture) for video, picture in pictures if picture is not None]

    return {
        "id": id,
        "name": outcome.name,
        "class_names": outcome.class_names,
        "facts": run_facts(outcome),
        "settings": settings_table(outcome),
        "reliability": charts.reliability_diagram(outcome),
        "classes": class_figures(outcome),
        "confusion": confusion_table(outcome),
        "pairs": pairs_table(outcome),
        "curves": charts.learning_curves(outcome, MOST_CURVES),
        "more_curves": len(outcome.curves) if len(outcome.curves) > MOST_CURVES else 0,
        "hardest": hardest,
        "wrong": wrong,
        "drawn": [shown(videos, 1) for videos in looks.drawn],
        "confused": [(pair, shown(pair.taken, STEPS), shown(pair.recognised, STEPS)) for pair in looks.confused],
        "no_pictures": album.lack.get(outcome.name, ""),
    }


def _card(outcome: Outcome, video: Video, album: Any) -> dict[str, Any]:
    """What the page shows of one video."""
    judged = outcome.splits[video.split]
    outputs = []
    for name in outcome.outputs:
        values = judged.outputs[name][video.place]
        best = int(values.argmax())
        outputs.append((name, outcome.class_names[best], float(values[best]), float(values[video.true])))
    return {
        "video": video,
        "frame": album.frames.get((outcome.name, video.id, 1)),
        "strips": album.strips.get((outcome.name, video.split, video.id), []),
        "outputs": outputs,
    }
