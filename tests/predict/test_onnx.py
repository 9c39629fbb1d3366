"""A backbone and its head in one ONNX file: images in, the probabilities that prediction gives out."""

import numpy as np
import pytest

from avr.core import UsageError, softmax
from avr.predict import Predictor, export_onnx
from avr.predict.pipelines import open_runs
from avr.video import decode


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_images_through_the_file_give_what_prediction_gives(runs, dataset, tmp_path, stream):
    onnxruntime = pytest.importorskip("onnxruntime")
    made = export_onnx(runs / "linear", tmp_path / "x.onnx", backbone=stream)
    assert made.inputs == {stream: (3, 1, 3, 36, 36) if stream == "rgb" else (3, 2, 2, 36, 36)}

    video = dataset.videos[0]
    (opened,) = open_runs([runs / "linear"], device="cpu")
    group = opened.extractor.prepare([decode(video, opened.extractor.needs)])
    (items,) = group.streams[stream]
    images = np.stack([items.take(0, items.count).float().numpy()[steps] for steps in items.views])
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {stream: images})
    expected = softmax(Predictor(runs / "linear", device="cpu").predict(video.path).outputs[stream])
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=2e-3)  # whose features were rounded to fp16


def test_a_head_of_several_streams_takes_no_backbone(runs, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match=r"a backbone goes before a head of its stream alone, .* reads rgb, flow"):
        export_onnx(runs / "stfn", tmp_path / "x.onnx", backbone="rgb")
