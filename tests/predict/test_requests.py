"""What `avr predict` is asked for: files, folders and patterns, and where its output may go."""

import pytest

from avr.core import UsageError
from avr.predict import drawn_paths, gather_videos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clips/a/1.avi", "clips/b/1.avi", "clips/b/2.MP4", "clips/b/notes.txt", "clips/drawn/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "one.raw").touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def named(*given, **options):
    return [path.as_posix() for path in gather_videos(given, **options)]


def test_files_folders_and_patterns_are_the_videos_they_name(folder):
    inside = ["clips/a/1.avi", "clips/b/1.avi", "clips/b/2.MP4", "clips/drawn/x.mp4"]
    assert named("clips") == inside
    assert named("clips/b", "one.raw") == ["clips/b/1.avi", "clips/b/2.MP4", "one.raw"]
    assert named("clips/b/*") == ["clips/b/1.avi", "clips/b/2.MP4"]
    assert named("clips/*/1.*") == ["clips/a/1.avi", "clips/b/1.avi"]
    assert sorted(named("clips/**")) == sorted(named("clips/*")) == inside
    assert named("clips", but=folder / "clips" / "drawn") == inside[:3]
    assert named("one.raw", "gone.avi") == ["one.raw", "gone.avi"]  # the second is reported, the first predicted
    (folder / "a[1].avi").touch()
    with pytest.raises(UsageError, match=r"clips/drawn: every video of it \(1\) lies in .*drawn, .* folder for --draw"):
        named("clips/drawn", but=folder / "clips" / "drawn")
    assert named("a[1].avi") == ["a[1].avi"]  # a name that is there is no pattern


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("empty", "empty: no videos in this folder"),
        ("clips/*.mov", r"clips/\*.mov: no video matches this pattern"),
        ("gone.avi", "gone.avi: no such video"),
        ("", "a video's name is empty"),
    ],
)
def test_what_names_no_video_is_refused(folder, given, message):
    with pytest.raises(UsageError, match=message):
        gather_videos([given])


def test_two_videos_never_become_one_drawing(folder):
    def drawn(*videos):
        return [path.as_posix() for path in drawn_paths(gather_videos(videos), folder / "out", ".mp4").values()]

    out = f"{folder.as_posix()}/out"
    assert drawn("clips/a/1.avi") == [f"{out}/1.mp4"]
    assert drawn("clips/a", "clips/b") == [f"{out}/a/1.mp4", f"{out}/b/1.mp4", f"{out}/b/2.mp4"]
    assert drawn("clips/a/1.avi", "clips/b/2.MP4", "one.raw") == [
        f"{out}/clips/a/1.mp4", f"{out}/clips/b/2.mp4", f"{out}/one.mp4"
    ]  # fmt: skip
    for name in ("1.mp4", "1.avi.mp4"):
        (folder / "clips" / "a" / name).touch()
    assert drawn("clips/a") == [f"{out}/1.avi.mp4", f"{out}/1.avi.mp4.mp4", f"{out}/1.mp4.mp4"]
