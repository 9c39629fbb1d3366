"""Frames to MP4 and GIF, and back by the one reader of videos."""

import av
import numpy as np
import pytest
from PIL import Image

from avr.core import UsageError, WorkError
from avr.video import VideoFile, write_video
from avr.video.writing import _add_stream


def clip(count=12, height=48, width=64):
    """A bright square on a ramp, two pixels further in each frame."""
    images = np.repeat(np.linspace(20, 120, width, dtype=np.uint8)[None, None, :, None], count, axis=0)
    images = np.broadcast_to(images, (count, height, width, 3)).copy()
    for number, image in enumerate(images):
        image[10:26, 4 + 2 * number : 20 + 2 * number] = (230, 200, 40)
    return images


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
@pytest.mark.parametrize("rate", [10.0, 30000 / 1001])
def test_an_mp4_holds_the_frames_at_their_rate(tmp_path, height, width, rate):
    images = clip(height=height, width=width)
    write_video(tmp_path / "clip.mp4", iter(images), rate=rate)
    with VideoFile(tmp_path / "clip.mp4") as file:
        assert file.rate == pytest.approx(rate)
        found = np.stack([frame.rgb() for frame in file])
    assert found.shape == (12, height + height % 2, width + width % 2, 3)
    assert np.abs(found[:, :height, :width].astype(int) - images).mean() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_build_without_h264_writes_mpeg4(tmp_path, monkeypatch):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        add = container.add_stream

        class Without:
            def add_stream(self, name, **options):
                if name == "libx264":
                    raise av.codec.codec.UnknownCodecError(name)
                return add(name, **options)

        stream = _add_stream(Without(), 25.0)
        assert stream.codec_context.codec.name == "mpeg4"
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in clip():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with VideoFile(tmp_path / "clip.mp4") as file:
        assert sum(1 for _ in file) == 12


def test_a_gif_holds_the_frames_and_keeps_their_time(tmp_path):
    images = clip()
    write_video(tmp_path / "clip.gif", images, rate=30)
    with Image.open(tmp_path / "clip.gif") as file:
        durations = []
        for number in range(file.n_frames):
            file.seek(number)
            durations.append(file.info["duration"])
            shown = np.asarray(file.convert("RGB")).astype(int)
            assert np.abs(shown - images[number]).mean() < 12
    assert (len(durations), sum(durations)) == (12, 400)


def test_a_gif_is_written_as_its_frames_come_and_shows_each_as_long_as_it_can(tmp_path):
    written = []

    def images():
        for image in np.random.default_rng(0).integers(0, 256, (20, 160, 160, 3), dtype=np.uint8):
            written.extend(path.stat().st_size for path in tmp_path.glob("*.tmp"))
            yield image

    write_video(tmp_path / "clip.gif", images(), rate=25)
    assert max(written) > 32768
    write_video(tmp_path / "slow.gif", clip(3), rate=0.001)
    with Image.open(tmp_path / "slow.gif") as file:
        assert (file.n_frames, file.info["duration"]) == (3, 655350)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(WorkError, match=r"clip.mp4: there is no frame to write"):
        write_video(tmp_path / "clip.mp4", [], rate=25)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: is a file, or lies below one"):
        write_video(tmp_path / "file" / "clip.mp4", clip(), rate=25)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
