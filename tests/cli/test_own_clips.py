"""One's own clips, as typed: from a folder to features, a trained head on each fold, the report and a prediction."""

import json

import cv2
import numpy as np
import pytest

from avr.cli import main


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """A working folder with clips/<class>/<person>_<take>.avi: grey levels that tell the two classes apart."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for label, most in (("dark", 60), ("light", 256)):
        (tmp_path / "my clips" / label).mkdir(parents=True)
        for person in range(6):
            path = tmp_path / "my clips" / label / f"p{person}_1.avi"
            writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
            for _ in range(6):
                writer.write(generator.integers(0, most, (48, 64, 3), dtype=np.uint8))
            writer.release()
    (tmp_path / "people.csv").write_text(
        "id,group\n" + "".join(f"{label}/p{n}_1.avi,p{n}\n" for label in ("dark", "light") for n in range(6))
    )
    return tmp_path


@pytest.mark.usefixtures("locks")
def test_from_a_folder_to_the_report_and_a_prediction(clips, runner):
    def avr(*arguments):
        result = runner.invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result

    small = ("--stream", "rgb", "--backbone", "squeezenet1_1", "--weights", "random", "--crop", "64", "--segments", "2")
    data = ("--dataset", "my clips", "--set", "folds=3", "--set", "groups=people.csv")
    said = avr("extract", *data, *small, "--layers", "pooled")
    assert "features/my clips: 12 videos: 12 extracted" in said.stdout
    assert "warning" not in said.stderr
    avr("heads", "train", "linear", "--split", "all", "--out", "run")
    assert "split 3: rgb " in avr("report", "run", "--out", "report.html").stdout
    assert "my clips" in (clips / "report.html").read_text()
    found = json.loads(avr("predict", "my clips/light/p0_1.avi", "--run", "run", "--json").stdout)
    assert "light" in json.dumps(found)
