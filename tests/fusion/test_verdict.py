"""Which baselines a rule stands beside, and the one sentence that says what to use."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, measure
from avr.fusion import Evaluation, compare, fuse
from avr.fusion._report import against_baselines, better_untrained
from avr.fusion._verdict import verdict
from avr.store import read_scores, write_scores

from .test_fuse_files import QUICK, put, score_file


def found(name, difference, low, high, p):
    return {"name": name, "difference": difference, "low": low, "high": high, "p": p}


BETTER = (0.031, 0.012, 0.05, 0.001)
WORSE = (-0.031, -0.05, -0.012, 0.001)
UNSURE = (0.004, -0.004, 0.011, 0.4)
CASES = {
    "better": (
        {"untrained": BETTER, "best stream": BETTER, "both": UNSURE},
        "Use awf: +3.1 points top-1 over multiply, which 1 530 videos can tell (+1.2 … +5.0); over rgb alone awf is "
        "+3.1 (+1.2 … +5.0).",
    ),
    "not told apart": (
        {"untrained": UNSURE, "best stream": BETTER, "both": BETTER},
        "Use multiply: 1 530 videos cannot tell awf and multiply apart: -0.4 … +1.1 points; over rgb alone multiply is "
        "+3.1 (+1.2 … +5.0).",
    ),
    "worse": (
        {"untrained": WORSE, "best stream": WORSE, "both": UNSURE},
        "Use multiply: +3.1 points top-1 over awf, which 1 530 videos can tell (+1.2 … +5.0); over rgb alone multiply "
        "is +0.4 (-0.4 … +1.1), which they cannot tell.",
    ),
    "a stream alone": (
        {"untrained": UNSURE, "best stream": UNSURE, "both": WORSE},
        "Use rgb alone: +3.1 points top-1 over multiply, which 1 530 videos can tell (+1.2 … +5.0).",
    ),
    "one of the two is too sure": (
        {"untrained": (0.02, 0.001, 0.04, 0.07), "best stream": BETTER, "both": (0.02, -0.01, 0.05, 0.01)},
        "Use multiply: 1 530 videos cannot tell awf and multiply apart: +0.1 … +4.0 points, p 0.07; over rgb alone "
        "multiply is +2.0 (-1.0 … +5.0), which they cannot tell.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_to_use(case):
    others = {"untrained": "multiply", "best stream": "rgb", "both": "rgb"}
    values, expected = CASES[case]
    against = {what: found(others[what], *one) for what, one in values.items()}
    assert verdict("awf", against, videos=1530, groups=200) == expected


def test_few_groups_tell_nothing_and_two_untrained_rules_are_alike():
    against = {
        "untrained": found("average", *BETTER),
        "best stream": found("rgb", *BETTER),
        "both": found("rgb", *BETTER),
    }
    text = verdict("multiply", against, videos=90, groups=3)
    assert text == (
        "Use multiply or average: 90 videos of 3 groups cannot tell them apart: +1.2 … +5.0 points; over rgb alone "
        "multiply is +3.1 (+1.2 … +5.0), which they cannot tell."
    )
    chosen = verdict("lp-beta", against, videos=90, groups=30, chosen_of=11)
    assert "(lp-beta is the best of 11 on these very videos, which flatters it)" in chosen


def trial_of_scores(labels, **outputs):
    """A trial whose streams and rules gave these scores."""
    videos = np.arange(len(labels))
    table = SimpleNamespace(streams=("rgb", "flow"), groups=videos.astype(str), labels=labels)
    results = {name: SimpleNamespace(scores=scores) for name, scores in outputs.items()}
    return SimpleNamespace(table=table, results=results, judged=videos, labels=labels)


def one_hot(predicted, classes=4):
    return np.eye(classes)[predicted]


def test_the_untrained_rule_that_is_right_on_more_videos_is_the_baseline():
    labels = np.arange(40) % 4

    def right_on(count):
        return one_hot(np.where(np.arange(40) < count, labels, (labels + 1) % 4))

    trial = trial_of_scores(
        labels, rgb=right_on(10), flow=right_on(20), average=right_on(30), multiply=right_on(25), awf=right_on(38)
    )
    assert better_untrained([trial]) == "average"
    assert better_untrained([trial], but="average") == "multiply"
    against, text = against_baselines([trial], "awf", Evaluation(bootstrap=200))
    assert (against["untrained"]["name"], against["best stream"]["name"]) == ("average", "flow")
    assert against["untrained"]["difference"] == pytest.approx(8 / 40)
    assert against["untrained"]["p"] == pytest.approx(2 / 2**8)  # eight videos, all of one kind
    assert against["best stream"]["difference"] == pytest.approx(18 / 40)
    assert text.startswith("Use awf: +20.0 points top-1 over average, which 40 videos can tell")


@pytest.fixture
def printed(tmp_path, monkeypatch, runner):
    """What a command printed, in a folder with scores of a run."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file())

    def run(*arguments):
        done = runner.invoke(main, ["fuse", *arguments, "--bootstrap", "100"])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_the_table_marks_the_best_row_sorts_and_ends_in_one_sentence(printed):
    text = printed("svm", "--sort", "top1")
    lines = text.splitlines()
    rows = [line for line in lines if re.match(r"(linear/|average|multiply|svm)", line) and " - " not in line]
    tops = [float(re.search(r" (\d+\.\d) ", line)[1]) for line in rows[:5]]
    assert tops == sorted(tops, reverse=True)
    assert [" * " in line for line in rows[:5]] == [top == tops[0] for top in tops]
    assert lines[0] == "split 1: fitted on 73 out-of-fold training scores, judged on 47 test videos"
    assert lines[-1].startswith("Use ")
    assert "47 videos" in lines[-1]
    assert re.search(r"^svm - (average|multiply), the better untrained rule: ", text, re.M)
    losses = [row.split() for row in printed("svm", "--sort", "log_loss").splitlines()[3:8]]
    assert [float(row[-2]) for row in losses] == sorted(float(row[-2]) for row in losses)


def test_learnt_weights_are_printed_and_kept_for_the_report(printed, tmp_path):
    text = printed("awf", "--objective", "margin", "--delta", "0.3")
    table = text[text.index("\nweights\n") :].splitlines()
    assert table[2].split() == ["class", "linear/rgb", "linear/flow"]
    assert [line.split()[0] for line in table[4:9]] == ["mean", "jump", "run", "sit", "walk"]
    shares = [[float(cell) for cell in line.split()[-2:]] for line in table[4:9]]
    np.testing.assert_allclose(np.sum(shares, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(shares[0], np.mean(shares[1:], axis=0), atol=2e-3)
    kept = read_scores(tmp_path / "runs/fuse-awf-1/scores.h5").provenance
    assert kept["streams"] == ["linear/rgb", "linear/flow"]
    np.testing.assert_allclose(kept["weights"], shares[1:], atol=1e-3)
    assert "weights" not in printed("average")


def test_of_many_classes_those_furthest_from_the_shared_weights_are_printed(capsys):
    from avr.commands._fusion import print_weights

    weights = np.full((40, 2), 0.5)
    weights[[3, 7, *range(20, 26)]] = [[0.8, 0.2]] * 8
    weights[30] = [0.45, 0.55]
    print_weights({"1": weights.tolist()}, [f"c{k}" for k in range(40)], ["rgb", "flow"])
    text = capsys.readouterr().out
    assert "weights (the 8 of 40 classes that are furthest from their mean)" in text
    assert [line.split()[0] for line in text.splitlines()[5:]] == ["c3", "c7", *(f"c{k}" for k in range(20, 26))]
    print_weights({"1": weights.tolist(), "2": (1 - weights).tolist()}, [f"c{k}" for k in range(40)], ["a", "b"])
    text = capsys.readouterr().out
    assert "weights (mean over 2 splits)" in text
    assert text.splitlines()[4].split() == ["all", "classes", "0.500", "0.500"]


def test_a_temperature_that_makes_calibration_worse_is_said_to(capsys):
    from avr.commands._fusion import print_calibration

    rgb, flow = {"ece_before": 0.03, "ece_after": 0.05}, {"ece_before": 0.2, "ece_after": 0.02}
    print_calibration({"1": {"rgb": {"temperature": 1.2, **rgb}, "flow": {"temperature": 2.0, **flow}}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["rgb", "1.2", "3.0", "5.0", "(worse)"]
    assert lines[4].split() == ["flow", "2", "20.0", "2.0"]
    assert lines[5].startswith("worse: fitted on other videos")


def test_compare_stands_against_the_better_untrained_rule(printed, tmp_path):
    text = printed("compare", "--rule", "maximum", "--rule", "log-linear-pool", "--weights", "--sort", "top1")
    result = compare(["runs"], ["maximum", "log-linear-pool"], evaluation=replace(QUICK, bootstrap=100))
    assert f"top-1 - {result.baseline} [95 %]" in text
    assert "log-linear-pool: weights" in text
    assert text.rstrip().endswith(result.verdict)
    assert "of 3 on these very videos" in result.verdict
    assert repr(result) == (
        f"Comparison(6 streams and rules, best {max(result.rows, key=lambda row: row['top1'])['name']}: "
        f"{100 * max(row['top1'] for row in result.rows):.1f} % top-1 of 47 videos)"
    )


def test_compare_leaves_out_what_asks_for_options(tmp_path, capsys):
    path = put(tmp_path, score_file(("rgb", "audio"), test_only=True))
    rules = [row["name"] for row in compare([path], evaluation=QUICK).rows]
    assert "weighted" not in rules
    assert "maximum" in rules
    assert "compare: leaves out weighted: 1 : 1.5 is for streams rgb and flow" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"give each stream's, such as --weights linear/rgb=1,linear/audio=1"):
        compare([path], ["weighted"], evaluation=QUICK)


def test_results_are_short_in_a_notebook(tmp_path):
    result = fuse("average", [put(tmp_path, score_file())], out=tmp_path / "out", evaluation=QUICK)
    top = 100 * measure(*_fused_and_labels(tmp_path / "out"))["top1"]
    assert repr(result) == (
        f"FusionResult(average of linear/rgb, linear/flow: {top:.1f} % top-1 of 47 videos; {tmp_path}/out)"
    )


def _fused_and_labels(run):
    scores = read_scores(run / "scores.h5")
    return scores.streams["fused"], scores.labels


def test_of_one_stream_there_is_nothing_to_choose(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "rgb.h5", score_file(("rgb",), test_only=True))
    done = runner.invoke(main, ["fuse", "multiply", "rgb.h5", "--bootstrap", "100"])
    assert done.exit_code == 0, done.output
    assert "only one stream, linear/rgb: there is nothing to fuse it with" in done.stderr
    assert done.stdout.splitlines()[-1] == "written: runs/fuse-multiply-1"


def test_no_split_no_words_about_it(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "s.h5", score_file(split="", test_only=True))
    for command in (["average", "s.h5"], ["compare", "s.h5", "--rule", "awf"]):
        done = runner.invoke(main, ["fuse", *command, "--folds", "3", "--bootstrap", "100"])
        assert done.exit_code == 0, done.output
        assert "split" not in done.output
