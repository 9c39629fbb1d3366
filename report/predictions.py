"""What a run says of each video, as a table."""

from collections.abc import Iterator
from pathlib import Path

from avr.core import UsageError, claim_file, write_csv
from avr.store import UNLABELLED, Scores, is_test, read_scores, score_paths

from .outputs import outputs_of


def write_predictions(run: Path, out: Path, *, output: str = "", overwrite: bool = False) -> int:
    """Write what a run's heads, or its fusion, predict of the test videos, as CSV; gives how many rows.

        id,split,label,predicted,brush_hair,cartwheel,…
        brush_hair/clip1,1,brush_hair,brush_hair,0.91,0.02,…

    A class's column is its probability. Cells are safe for spreadsheets (`avr.core.safe_cell`); a video that several
    splits test has a row in each; of a label that is not known the cell is empty.

    Args:
        run: a run's folder, or a score file.
        out: the file.
        output: such as "rgb" or "multiply"; "" is the run's prediction.
        overwrite: replace a file that is there.

    Raises:
        UsageError: no scores there, no such output, classes that differ between splits, a file that is there.
        WorkError: damaged scores, or a file that cannot be written.
    """
    paths = [run] if run.is_file() else score_paths(run)
    if not paths:
        raise UsageError(f"{run}: holds no scores: name a run's folder or a score file")
    scores = [read_scores(path) for path in paths]
    for path, one in zip(paths, scores, strict=True):
        known = outputs_of(one)
        if output and output not in known:
            raise UsageError(f"{path}: has no output '{output}'; it holds {', '.join(known)}")
        if one.class_names != scores[0].class_names:
            raise UsageError(f"{path}: has other classes than {paths[0]}: write them one by one")
    claim_file(out, overwrite=overwrite)
    rows = [row for one in scores for row in _rows(one, output or one.prediction)]
    write_csv(out, [["id", "split", "label", "predicted", *scores[0].class_names], *rows])
    return len(rows)


def _rows(scores: Scores, output: str) -> Iterator[list[object]]:
    values, names = outputs_of(scores)[output], scores.class_names
    for place in is_test(scores.fold).nonzero()[0]:
        label = scores.labels[place]
        yield [
            scores.ids[place].item(),
            scores.split,
            None if label == UNLABELLED else names[label],
            names[values[place].argmax()],
            *(round(float(value), 6) for value in values[place]),
        ]
