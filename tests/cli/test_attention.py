"""`avr attention` on a clip drawn here: pictures are written, and show where the weight is."""

import base64
import io
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from avr.cli import main
from avr.datasets import Dataset, Split, Video
from avr.extract import build_backbone, extract, read_streams
from avr.heads import train_run
from avr.report import draw_attention
from avr.report.attention import over_positions, over_segments
from avr.video import read_frames


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two classes of three short clips each, extracted and trained for a moment."""
    folder = tmp_path_factory.mktemp("attention")
    videos = []
    for label in range(2):
        for take in range(3):
            path = folder / "videos" / f"c{label}" / f"t{take}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 64))
            for frame in range(12):
                image = np.full((64, 80, 3), 40, np.uint8)
                cv2.circle(image, (10 + 5 * frame, 20 + 20 * label), 6, (255, 255, 255), -1)
                writer.write(image)
            writer.release()
            videos.append(Video(f"c{label}/t{take}", path, label, f"g{take}"))
    ids = tuple(video.id for video in videos)
    dataset = Dataset("toy", folder / "videos", ("low", "high"), tuple(videos), {"1": Split("1", ids[:5], ids[5:])})
    told = {"backbone": "squeezenet1_1", "weights": "random", "layers": ("pooled", "map")}
    sizes = {"segments": 3, "stack": 2, "resize": 64, "crop": 64}
    for name in ("store", "other"):
        extract(dataset, folder / name, streams=read_streams(["rgb", "flow"], told | sizes))
        sizes |= {"resize": 72}
    short = {"epochs": 1, "min_steps": 0}
    small = {"hidden": 4, "layers": 1, "attention_hidden": 4}
    streams = {"rgb": "map"}
    train_run(
        folder / "store",
        "attention-streams",
        streams=("rgb",),
        layers=streams,
        options=small,
        training=short,
        folds=0,
        out=folder / "glka",
    )
    train_run(folder / "store", "coattention", options={"hidden": 4}, training=short, folds=0, out=folder / "stilt")
    train_run(folder / "store", "linear", training=short, folds=0, out=folder / "linear")
    return folder


def test_maps_are_laid_over_the_frames(trained, runner, tmp_path):
    arguments = ["attention", str(trained / "glka"), "--video", "c1/t0", "--out", str(tmp_path), "--json"]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        f"rgb-{kind}-0{step}.png" for kind in ("la", "sa") for step in range(3)
    ]
    assert list(printed["frames"]) == ["rgb"]
    assert printed["frames"]["rgb"] == sorted(printed["frames"]["rgb"])
    assert np.array(printed["weights"]["rgb-sa"]).shape == (3, 3, 3)
    picture = np.array(Image.open(tmp_path / "rgb-sa-01.png"))
    assert picture.shape == (64, 64, 3)
    with Image.open(tmp_path / "attention.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == (3 * 64, 64)  # the frame, T_SA and T_LA side by side


def test_weights_over_segments_are_shown_too(trained, runner, tmp_path):
    result = runner.invoke(main, ["attention", str(trained / "stilt"), "--video", "c0/t1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len(list(tmp_path.glob("*.png"))) == 6
    assert result.stdout.splitlines()[1:] == ["frames of rgb: 2, 6, 10", str(tmp_path / "attention.gif")]
    with Image.open(tmp_path / "attention.gif") as animation:
        assert animation.size == (3 * 64, 64)  # of one sampling: the frame, rgb's weights and flow's side by side


def test_an_attentive_probe_shows_the_positions_of_a_stream_and_the_segments_of_another(trained, runner, tmp_path):
    run, out, training = tmp_path / "run", tmp_path / "out", {"epochs": 1, "min_steps": 0}
    train_run(trained / "store", "attentive", layers={"rgb": "map"}, training=training, folds=0, out=run)
    result = runner.invoke(main, ["attention", str(run), "--video", "c0/t1", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    weights = json.loads(result.stdout)["weights"]
    assert {stream: np.shape(values) for stream, values in weights.items()} == {"rgb": (3, 3, 3), "flow": (3,)}
    assert [np.sum(values) for values in weights.values()] == pytest.approx([1, 1])
    assert len(list(out.glob("*.png"))) == 6


@pytest.mark.parametrize(
    ("run", "more", "message"),
    [
        ("linear", [], "head linear has no attention to show"),
        ("glka", ["--video", "c1/t9"], "unknown video 'c1/t9' (did you mean c1/t"),
        ("glka", ["--view", "1"], "the video has views 0 to 0, not 1"),
        ("glka", ["--root", "elsewhere"], "the video is not at elsewhere/t0.avi: name the folder of the videos"),
        ("glka", ["--store", "none"], "the run's store is not at none"),
        ("glka", ["--weights", "rgb=x.pt"], "--weights rgb=x.pt: only --layer reads them: name a layer"),
        ("glka", ["--layer", "map", "--weights", "rgb=x.pt"], "--weights rgb=x.pt: the run's own weights are no file"),
        ("linear", ["--layer", "map", "--weights", "flow=x.pt"], "there is no stream 'flow' to read them; known: rgb"),
    ],
)
def test_what_cannot_be_shown_is_said(trained, runner, tmp_path, run, more, message):
    result = runner.invoke(
        main, ["attention", str(trained / run), "--video", "c1/t0", "--out", str(tmp_path / "out"), *more]
    )
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_store_that_was_made_again_is_not_taken_for_the_runs_own(trained, runner, tmp_path):
    own, aside = trained / "store", trained / "aside"
    arguments = ["attention", str(trained / "glka"), "--video", "c1/t0", "--out", str(tmp_path), "--overwrite"]
    own.rename(aside)
    shutil.copytree(trained / "other", own)
    try:
        result = runner.invoke(main, arguments)
        assert result.exit_code == 2
        assert "its rgb features (digest " in result.stderr
        assert "it was made again since; train again, or name a store with --store" in result.stderr
        assert runner.invoke(main, [*arguments, "--store", str(aside)]).exit_code == 0
        told = runner.invoke(main, [*arguments, "--store", str(trained / "other")])
        assert told.exit_code == 0
        assert "are not those of the run" in told.stderr
    finally:
        shutil.rmtree(own)
        aside.rename(own)


def test_a_moved_video_is_found_under_root(trained, runner, tmp_path):
    arguments = ["attention", str(trained / "glka"), "--video", "c1/t0", "--out", str(tmp_path / "out")]
    (trained / "videos").rename(trained / "moved")
    try:
        assert runner.invoke(main, arguments).exit_code == 2
        assert runner.invoke(main, [*arguments, "--root", str(trained / "moved")]).exit_code == 0
    finally:
        (trained / "moved").rename(trained / "videos")


@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_of_frames_is_shown(trained, runner, tmp_path, first):
    folder = tmp_path / "frames" / "c1" / "t0"
    folder.mkdir(parents=True)
    capture, number = cv2.VideoCapture(str(trained / "videos" / "c1" / "t0.avi")), first
    while True:
        there, image = capture.read()
        if not there:
            break
        cv2.imwrite(str(folder / f"img_{number:05d}.jpg"), image)
        number += 1
    arguments = ["attention", str(trained / "glka"), "--video", "c1/t0", "--root", str(tmp_path / "frames")]
    result = runner.invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    for path in folder.glob("*.jpg"):
        path.rename(path.with_name(path.name.replace("img", "frame")))
    result = runner.invoke(main, [*arguments, "--out", str(tmp_path / "again")])
    assert result.exit_code == 2
    assert "is a folder without img_00001.jpg, and the store does not keep how" in result.stderr


def test_channels_of_a_layer_are_drawn_beside_the_frames(trained, runner, tmp_path):
    """Of a head without attention: what the network's own first convolution gives of the very frames, red its most."""
    arguments = ["attention", str(trained / "linear"), "--video", "c1/t0", "--out", str(tmp_path / "out"), "--json"]
    done = runner.invoke(main, [*arguments, "--layer", "features.0", "--layer", "flow=map"])
    assert done.exit_code == 0, done.output
    assert [len(list((tmp_path / "out").glob(f"{name}-*.png"))) for name in ("rgb-features.0", "flow-map")] == [3, 3]
    drawn = draw_attention(trained / "linear", "c1/t0", tmp_path / "again", layers=["features.0"])
    maps = drawn.maps["rgb-features.0"]
    images = read_frames(Video("", trained / "videos/c1/t0.avi", 0, ""), drawn.frames["rgb"])
    resized = [cv2.resize(image, (80, 64))[:, 8:72] for image in images]  # as they are: 64 high; the centre
    inputs = torch.as_tensor(np.stack(resized)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(own)[:, None, None] for own in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    first = build_backbone("squeezenet1_1", weights="random", seed=0).features[0]
    with torch.no_grad():
        np.testing.assert_allclose(maps, first((inputs - mean) / std).numpy(), atol=2e-3)  # features are float16
    strip = np.array(Image.open(drawn.pictures[0]))
    assert strip.shape == (64, 6 * 64, 3)
    step, y, x = np.unravel_index(maps[:, 2].argmax(), maps[:, 2].shape)
    tile = np.array(Image.open(drawn.pictures[step]))[:, 2 * 64 : 3 * 64]
    red, _, blue = tile[int((y + 0.5) * 64 / 31), int((x + 0.5) * 64 / 31)].tolist()
    assert red > 100 > 50 > blue
    for layer, why in (("pooled", "rgb-pooled: gives no maps"), ("depth=map", "unknown stream 'depth'")):
        done = runner.invoke(main, [*arguments, "--overwrite", "--layer", layer])
        assert (done.exit_code, why in done.stderr) == (2, True), done.stderr


def test_red_lies_where_the_weight_is():
    images = np.zeros((1, 40, 40, 3), np.uint8)
    weights = np.zeros((1, 4, 4), np.float32)
    weights[0, 3, 0] = 1.0
    shown = over_positions(images, weights)[0]
    corner, elsewhere = shown[-1, 0], shown[0, -1]
    assert corner[0] > 60  # jet: red at the largest, mixed half and half
    assert corner[2] < 5
    assert elsewhere[0] < 5  # blue at zero
    assert elsewhere[2] > 60


def test_segments_with_little_weight_are_darkened_and_the_bar_is_as_long_as_the_weight():
    images = np.full((2, 48, 40, 3), 200, np.uint8)
    shown = over_segments(images, np.array([0.2, 0.8], np.float32))
    assert shown[1, 0, 0, 0] == 200
    assert shown[0, 0, 0, 0] == int(200 * (0.25 + 0.75 * 0.25))
    assert [(row[-1, :, 0] == 255).sum() for row in shown] == [10, 40]


def test_the_report_shows_videos_with_attention_where_they_are_at_hand(trained, runner, tmp_path):
    """A frame of the test video, and a strip a kind of attention; without the video, why there is none."""
    page = tmp_path / "page.html"
    arguments = ["report", str(trained / "glka"), str(trained / "linear"), "--out", str(page)]
    assert runner.invoke(main, arguments).exit_code == 0
    html = page.read_text()
    assert re.findall(r'alt="([^"]+)"', html[html.index('<section id="videos">') :]) == [
        "c1/t2, frame 6",
        "Attention, rgb-sa over the frames of c1/t2",
        "Attention, rgb-la over the frames of c1/t2",
        *["c1/t2, frame 6"] * 3,  # the sample of one video; then of the other run
    ]
    pictures = [base64.b64decode(text) for text in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)]
    sizes = [Image.open(io.BytesIO(one)).size for one in pictures if one]
    strips = [size for size in sizes if size == (320, 64)]  # of the only pair of classes that is confused, if one is
    assert [size for size in sizes if size not in strips] == [(80, 64), *[(192, 64)] * 2, *[(80, 64)] * 3]
    assert len(strips) == html.count("frames of the surest videos")
    pictures = pictures[html.count('frames 1, 4, 7, 10" width') :]
    frame = np.array(Image.open(io.BytesIO(pictures[0])))
    assert frame[40, 40].min() > 200  # where the circle is by then: (10 + 5 · 6, 40)
    numbers = [base64.b64decode(text) for text in re.findall(r'href="data:text/csv;[^,]*base64,([^"]+)"', html)]
    (sa,) = [text for text in numbers if text.startswith(b"frame,weight,row of the largest")][:1]
    assert len(sa.splitlines()) == 4

    video = trained / "videos" / "c1" / "t2.avi"
    video.rename(video.with_suffix(".gone"))
    try:
        assert runner.invoke(main, arguments).exit_code == 0
    finally:
        video.with_suffix(".gone").rename(video)
    assert "Pictures are missing: the video is not at" in page.read_text()
