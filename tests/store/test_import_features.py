"""Features of other tools: each kind of file, names, axes, segments, what is refused, exports taken back."""

import json
import os
import pickle
import zipfile
from itertools import pairwise
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from avr.core import UsageError, WorkError
from avr.store import FeatureStore, Laying, StoreWriter, export, import_export, import_features, videos_of

IDS = ["run/a b-1", "run/c2", "walk/d(3)", "walk/e4", "walk/f5"]
LENGTHS = [3, 9, 5, 12, 7]


def flat(video):
    """A name as tools that know files alone write it: no folder, `_` for signs."""
    return "".join(sign if sign.isalnum() else "_" for sign in video.rpartition("/")[2])


def dataset_of(ids=IDS, name="toy"):
    videos = [SimpleNamespace(id=i, path=f"/{i}.avi", label=int(i < "walk") ^ 1, group=i) for i in ids]
    splits = {"1": SimpleNamespace(train=ids[::2], test=ids[1::2])}
    return SimpleNamespace(name=name, class_names=("run", "walk"), videos=videos, splits=splits)


@pytest.fixture
def dataset():
    return dataset_of()


@pytest.fixture
def arrays():
    """(T, 6) float32 of each video, T from 3 to 12."""
    draw = np.random.default_rng(1)
    return {video: draw.normal(size=(steps, 6)).astype(np.float32) for video, steps in zip(IDS, LENGTHS, strict=True)}


def averaged(values, segments=7):
    """By the words of the documentation: equal parts averaged, the last step repeated."""
    count = len(values)
    if count < segments:
        return np.concatenate([values, np.repeat(values[-1:], segments - count, axis=0)])
    edges = [segment * count // segments for segment in range(segments + 1)]
    return np.stack([values[start:stop].astype(float).mean(axis=0) for start, stop in pairwise(edges)])


def check(out, stream, arrays, laid=averaged, layer="pooled"):
    """That a store's stream holds these arrays, laid, and no other video."""
    with FeatureStore(out, streams=[stream]) as store:
        assert store.ids.tolist() == [video for video in IDS if video in arrays]
        found = store.read_whole(stream, layer)
        np.testing.assert_array_equal(found, np.stack([laid(values) for values in arrays.values()]).astype(np.float16))
        return store


def save_h5(path, value):
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=value, compression="gzip", chunks=True)


def save_mat73(path, value):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["features"] = value.T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


SAVE = {
    "npy": np.save,
    "npz": lambda path, value: np.savez_compressed(path, value),
    "pkl": lambda path, value: path.write_bytes(pickle.dumps(value)),
    "pickle": lambda path, value: path.write_bytes(pickle.dumps(torch.from_numpy(value))),
    "pt": lambda path, value: torch.save(torch.from_numpy(value), path),
    "pth": lambda path, value: torch.save(
        {"feat": torch.from_numpy(value)}, path, _use_new_zipfile_serialization=False
    ),
    "mat": lambda path, value: scipy.io.savemat(path, {"features": value}),
    "safetensors": lambda path, value: save_file({"features": torch.from_numpy(value)}, path),
    "h5": save_h5,
    "hdf5": save_mat73,
    "csv": lambda path, value: np.savetxt(path, value, delimiter=",", header="f0,f1,f2,f3,f4,f5", comments=""),
}


@pytest.mark.parametrize("kind", SAVE)
def test_a_file_a_video(kind, arrays, dataset, tmp_path):
    folder = tmp_path / "peer"
    folder.mkdir()
    for video, values in arrays.items():
        SAVE[kind](folder / f"{flat(video)}.{kind if kind != 'hdf5' else 'mat'}", values)
    result = import_features([folder], dataset, tmp_path / "store")
    check(tmp_path / "store", "peer", arrays)
    assert result.left_out == []
    assert result.streams["peer"].arrays == {"peer/pooled": (7, 6)}
    settings = result.streams["peer"].settings
    assert settings["kind"] == "imported"
    assert settings["segments"] == 7
    assert settings["rule"].startswith("equal parts of a video's steps averaged")
    assert str(tmp_path) not in str(settings)


def named(arrays):
    return {f"{video}.avi": values for video, values in arrays.items()}


ALL = {
    "npz": lambda path, arrays: np.savez(path, **{flat(video): values for video, values in arrays.items()}),
    "pkl": lambda path, arrays: path.write_bytes(pickle.dumps(named(arrays))),
    "pt": lambda path, arrays: torch.save({key: torch.from_numpy(value) for key, value in named(arrays).items()}, path),
    "mat": lambda path, arrays: scipy.io.savemat(path, {flat(video): values for video, values in arrays.items()}),
    "safetensors": lambda path, arrays: save_file({flat(v): torch.from_numpy(a) for v, a in arrays.items()}, path),
}


@pytest.mark.parametrize("kind", ALL)
def test_one_file_of_arrays_by_name(kind, arrays, dataset, tmp_path):
    ALL[kind](tmp_path / f"i3d.{kind}", arrays)
    import_features([tmp_path / f"i3d.{kind}"], dataset, tmp_path / "store")
    check(tmp_path / "store", "i3d", arrays)
    with pytest.raises(UsageError, match=r"holds arrays by name, such as .*: leave --names out"):
        import_features([tmp_path / f"i3d.{kind}"], dataset, tmp_path / "other", names=IDS)


def test_hdf5_groups_are_videos_and_their_arrays_streams(arrays, dataset, tmp_path):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for video, values in arrays.items():
            file[f"{video}/rgb"], file[f"{video}/flow"] = values, values * 2
    import_features([tmp_path / "all.h5"], dataset, tmp_path / "store")
    check(tmp_path / "store", "rgb", arrays)
    check(tmp_path / "store", "flow", {video: values * 2 for video, values in arrays.items()})


ROWS = {
    "npy": np.save,
    "pt": lambda path, values: torch.save(torch.from_numpy(values), path),
    "h5": save_h5,
    "pkl": lambda path, values: path.write_bytes(pickle.dumps(list(values))),  # mmaction2 0.x: a vector a video
}


@pytest.mark.parametrize("kind", ROWS)
def test_one_array_and_a_list_of_names(kind, dataset, tmp_path):
    values = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    order = [3, 1, 0, 4, 2]
    ROWS[kind](tmp_path / f"tsn.{kind}", values[order])
    result = import_features([tmp_path / f"tsn.{kind}"], dataset, tmp_path / "store", names=[IDS[i] for i in order])
    check(tmp_path / "store", "tsn", dict(zip(IDS, values, strict=True)), laid=lambda row: row[None])
    assert result.streams["tsn"].settings["rule"] == "as they are"
    with pytest.raises(UsageError, match="5 rows, but 4 names"):
        import_features([tmp_path / f"tsn.{kind}"], dataset, tmp_path / "other", names=IDS[:4])


def test_a_list_of_unequal_arrays_wants_names(arrays, dataset, tmp_path):
    (tmp_path / "slow.pkl").write_bytes(pickle.dumps(list(arrays.values())))
    import_features([tmp_path / "slow.pkl"], dataset, tmp_path / "store", names=IDS)
    check(tmp_path / "store", "slow", arrays)
    with pytest.raises(UsageError, match="say their names"):
        import_features([tmp_path / "slow.pkl"], dataset, tmp_path / "other")


def test_arrays_beside_names_are_streams_and_labels_are_held_against_them(dataset, tmp_path):
    values = np.random.default_rng(2).normal(size=(5, 2, 6)).astype(np.float32)
    given = {"ids": np.array(IDS), "clip": values, "dino": values * 3, "labels": [7, 7, 2, 2, 2], "size": np.arange(5)}
    np.savez(tmp_path / "all.npz", **given)
    result = import_features([tmp_path / "all.npz"], dataset, tmp_path / "store")
    assert sorted(result.streams) == ["clip", "dino"]
    check(tmp_path / "store", "dino", dict(zip(IDS, values * 3, strict=True)), laid=lambda steps: steps)
    assert [(left["place"][-4:], left["reason"]) for left in result.left_out] == [
        ("size", "whole numbers, such as labels")
    ]
    np.savez(tmp_path / "wrong.npz", **given | {"labels": [7, 2, 7, 2, 2]})
    with pytest.raises(UsageError, match=r"label 7 goes with run/a b-1 and walk/d\(3\).*in the file's order"):
        import_features([tmp_path / "wrong.npz"], dataset, tmp_path / "store")
    with pytest.raises(UsageError, match="names of its own, and --names differs in 4 of 5"):
        import_features([tmp_path / "all.npz"], dataset, tmp_path / "store", names=IDS[::-1][1:] + IDS[-1:])


def test_bfloat16_in_safetensors(arrays, dataset, tmp_path):
    tensors = {name: torch.from_numpy(array.astype(np.float32)).bfloat16() for name, array in arrays.items()}
    save_file(tensors, tmp_path / "clip.safetensors")
    import_features([tmp_path / "clip.safetensors"], dataset, tmp_path / "store")
    check(tmp_path / "store", "clip", {name: tensor.float().numpy() for name, tensor in tensors.items()})


@pytest.mark.parametrize("compressed", [False, True])
def test_matlabs_cells_are_videos_beside_their_names(compressed, arrays, dataset, tmp_path):
    def cells(values):
        found = np.empty(len(values), dtype=object)
        found[:] = values
        return found

    content = {"feats": cells(list(arrays.values())), "names": cells(IDS), "labels": [2, 2, 1, 1, 1], "about": {"x": 1}}
    scipy.io.savemat(tmp_path / "c3d.mat", content, do_compression=compressed)
    result = import_features([tmp_path / "c3d.mat"], dataset, tmp_path / "store")
    check(tmp_path / "store", "c3d", arrays)
    assert [left["reason"] for left in result.left_out] == ["no numbers"]
    damaged = (tmp_path / "c3d.mat").read_bytes()
    (tmp_path / "c3d.mat").write_bytes(damaged[:-100])
    with pytest.raises((UsageError, WorkError), match=r"c3d.mat: (damaged|cannot be read)"):
        import_features([tmp_path / "c3d.mat"], dataset, tmp_path / "other")


@pytest.fixture
def peer(arrays, tmp_path):
    """video_features' folder: two streams of unequal lengths, one video without flow, rates and times, a stray file."""
    folder = tmp_path / "i3d"
    folder.mkdir()
    for video, values in arrays.items():
        np.save(folder / f"{flat(video)}_rgb.npy", values)
        if video != IDS[1]:
            np.save(folder / f"{flat(video)}_flow.npy", values[1:].astype(np.float64) * 2)
        np.save(folder / f"{flat(video)}_fps.npy", 25.0)
        np.save(folder / f"{flat(video)}_timestamps_ms.npy", np.arange(len(values)) * 40.0)
    np.save(folder / "other_rgb.npy", np.zeros((3, 6)))
    np.save(folder / f"{flat(IDS[0])}_old.npy", np.zeros((3, 6)))
    (folder / "notes.txt").write_text("…")
    return folder


def test_video_features_folder(peer, arrays, dataset, tmp_path):
    result = import_features([peer], dataset, tmp_path / "store")
    store = check(tmp_path / "store", "rgb", arrays)
    halves = {video: values[1:].astype(np.float64) * 2 for video, values in arrays.items() if video != IDS[1]}
    check(tmp_path / "store", "flow", halves)
    assert result.streams["flow"].failures == [{"id": IDS[1], "reason": "no features of it in i3d"}]
    assert [(os.path.basename(left["place"]), left["reason"][:20]) for left in result.left_out] == [
        ("notes.txt", ".txt: no kind of fil"),
        ("a_b_1_old.npy", "its name is that of "),
        ("other_rgb.npy", "its name is that of "),
    ]
    assert store.facts["rate"].tolist() == [25.0] * 5
    frames, seconds = store.shown("rgb")
    assert (frames == -1).all()
    np.testing.assert_allclose(seconds[1], averaged(np.arange(9) * 0.04))
    assert store.kind("rgb") == "rgb"


def test_one_stream_of_several_is_taken_by_name(peer, arrays, dataset, tmp_path):
    result = import_features([peer], dataset, tmp_path / "store", stream="rgb")
    assert list(result.streams) == ["rgb"]
    assert sum(left["reason"] == "of stream flow, not rgb" for left in result.left_out) == 4
    with pytest.raises(UsageError, match="--stream clip: the names tell of flow, rgb"):
        import_features([peer], dataset, tmp_path / "store", stream="clip")


def test_streams_in_folders_and_files_of_one_video_each(arrays, dataset, tmp_path):
    for stream in ("rgb", "flow"):
        for video, values in arrays.items():
            path = tmp_path / "peer" / stream / f"{video}.mp4.pkl"  # mmaction2 1.x: the video's name and .pkl
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(torch.from_numpy(values)))
    import_features([tmp_path / "peer"], dataset, tmp_path / "store")
    check(tmp_path / "store", "flow", arrays)
    files = sorted((tmp_path / "peer" / "rgb").rglob("*.pkl"))
    import_features(files, dataset, tmp_path / "other", stream="tsn")
    check(tmp_path / "other", "tsn", arrays)


def test_a_file_of_several_streams(arrays, dataset, tmp_path):
    folder = tmp_path / "peer"
    folder.mkdir()
    for video, values in arrays.items():
        np.savez(folder / f"{flat(video)}.npz", rgb=values, flow=values * 2, fps=25.0, id=video)
    result = import_features([folder], dataset, tmp_path / "store")
    check(tmp_path / "store", "flow", {video: values * 2 for video, values in arrays.items()})
    assert {left["reason"] for left in result.left_out} == {"no numbers"}


def one_each(folder, arrays):
    folder.mkdir(exist_ok=True)
    for video, values in arrays.items():
        np.save(folder / f"{flat(video)}.npy", values)
    return folder


def test_segments_picked_and_as_many_as_said(arrays, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", arrays)
    laying = Laying(segments=4, how="pick")
    result = import_features([folder], dataset, tmp_path / "store", laying=laying)

    def picked(values):
        count = len(values)
        return values[[(2 * n + 1) * count // 8 for n in range(4)] if count >= 4 else [0, 1, 2, 2]]

    check(tmp_path / "store", "peer", arrays, laid=picked)
    assert "the middle one" in result.streams["peer"].settings["rule"]
    again = import_features([folder], dataset, tmp_path / "store", laying=laying)
    assert again.streams["peer"].settings == result.streams["peer"].settings
    with pytest.raises(UsageError, match=r"begun with other settings: .*segments 4 → 5"):
        import_features([folder], dataset, tmp_path / "store", laying=Laying(segments=5, how="pick"))
    np.save(folder / f"{flat(IDS[0])}.npy", arrays[IDS[0]] + 1)
    with pytest.raises(UsageError, match="begun with other settings: sha256"):
        import_features([folder], dataset, tmp_path / "store", laying=laying)


def shaped(*shapes):
    return {video: np.ones(shape, np.float16) for video, shape in zip(IDS, shapes, strict=False)}


@pytest.mark.parametrize(
    ("shapes", "options", "expected"),
    [
        ([(6,), (6,)], {}, "pooled (1, 6)"),
        ([(4, 6, 1, 1), (4, 6, 1, 1)], {}, "pooled (4, 6)"),
        ([(1, 4, 6), (1, 3, 6)], {}, "pooled (7, 6)"),
        ([(6, 4), (6, 9)], {}, "pooled (7, 6)"),  # the widths are alike, the steps are not
        ([(6, 4), (6, 4)], {"axes": "DT"}, "pooled (4, 6)"),
        ([(6, 4), (6, 4)], {"axes": "TD"}, "pooled (6, 4)"),
        ([(3, 5, 2, 2), (4, 5, 2, 2)], {}, "map (7, 5, 2, 2)"),
        ([(5, 3, 2, 2), (5, 4, 2, 2)], {}, "map (7, 5, 2, 2)"),
        ([(3, 2, 2, 5), (3, 2, 2, 5)], {"axes": "THWC"}, "map (3, 5, 2, 2)"),
        ([(3, 9, 5), (3, 9, 5)], {"layer": "tokens", "segments": 2}, "tokens (2, 9, 5)"),
    ],
)
def test_axes(shapes, options, expected, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", shaped(*shapes))
    found = import_features([folder], dataset, tmp_path / "store", laying=Laying(**options)).streams["peer"].arrays
    assert [f"{name.partition('/')[2]} {shape}" for name, shape in found.items()] == [expected]


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(6, 4), (6, 4)], {}, r"\(6, 4\) may be \(T, D\) or \(D, T\): say --axes TD or --axes DT"),
        ([(9, 5, 2, 2)] * 2, {}, r"may be \(T, C, H, W\) or \(C, T, H, W\)"),
        ([(3, 2, 2, 5)] * 2, {}, r"say --axes TCHW or --axes THWC"),
        ([(3, 9, 5)] * 2, {}, "say --layer tokens"),
        ([(3, 6), (4, 5)], {}, "differ in their numbers a step: 6 and 5"),
        ([(3, 6), (4, 6, 2, 2)], {}, "differ in their number of axes: 2 and 4"),
        ([(3, 6), (4, 6)], {"axes": "TCHW"}, "differ in their number of axes: 4 and 2"),
        ([(), ()], {}, "a_b_1.npy: one number; files of features are expected"),
        ([(2,) * 6] * 2, {}, r"expected \(T, D\)"),
        ([(0, 6), (0, 6)], {}, "holds nothing"),
    ],
)
def test_two_readings_and_unequal_widths_are_refused(shapes, options, message, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", shaped(*shapes))
    with pytest.raises(UsageError, match=message):
        import_features([folder], dataset, tmp_path / "store", laying=Laying(**options))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_named_and_nothing_written(value, arrays, dataset, tmp_path):
    arrays[IDS[3]][5, 2] = value
    folder = one_each(tmp_path / "peer", arrays)
    with pytest.raises(UsageError, match=r"e4.npy: row 5 holds NaN or infinity"):
        import_features([folder], dataset, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_what_fp16_does_not_hold_is_a_failure(arrays, dataset, tmp_path):
    arrays[IDS[3]][5, 2] = 1e6
    folder = one_each(tmp_path / "peer", arrays)
    result = import_features([folder], dataset, tmp_path / "store", laying=Laying(how="pick", segments=12))
    assert [failure["id"] for failure in result.streams["peer"].failures] == [IDS[3]]
    assert "more than fp16 holds" in result.streams["peer"].failures[0]["reason"]


def test_no_stream_is_written_where_another_does_not_fit(peer, arrays, dataset, tmp_path):
    one_each(tmp_path / "flow", arrays)
    import_features([tmp_path / "flow"], dataset, tmp_path / "store")
    with pytest.raises(UsageError, match="store/flow: was begun with other settings"):
        import_features([peer], dataset, tmp_path / "store")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["flow"]


def test_two_files_of_one_video_are_refused(arrays, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", arrays)
    (folder / "walk").mkdir()
    np.save(folder / "walk" / "e4.npy", arrays[IDS[3]])
    with pytest.raises(UsageError, match=r"e4.npy and .*e4.npy are of one video"):
        import_features([folder], dataset, tmp_path / "store")
    (folder / "walk" / "e4.npy").unlink()
    SAVE["pkl"](folder / "c2.pkl", arrays[IDS[1]])
    with pytest.raises(UsageError, match=r"c2.npy and .*c2.pkl are of one video"):
        import_features([folder], dataset, tmp_path / "store")
    (folder / "c2.pkl").unlink()
    other = one_each(tmp_path / "more", {IDS[0]: arrays[IDS[0]], IDS[1]: arrays[IDS[1]]})
    with pytest.raises(UsageError, match=r"peer/a_b_1.npy and .*more/a_b_1.npy are of one video"):
        import_features([folder, other], dataset, tmp_path / "store", stream="rgb")


def test_no_video_of_that_name(arrays, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", {"x/y": np.ones((3, 6)), "x/z": np.ones((3, 6))})
    with pytest.raises(
        UsageError, match=r"no name in it is that of a video of toy, such as y and run/a b-1; .*--names"
    ):
        import_features([folder], dataset, tmp_path / "store")
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="none; files of features are expected"):
        import_features([tmp_path / "none"], dataset, tmp_path / "store")


def test_a_store_with_other_videos_gets_no_stream(arrays, dataset, tmp_path):
    folder = one_each(tmp_path / "peer", arrays)
    import_features([folder], dataset, tmp_path / "store")
    with pytest.raises(UsageError, match="the videos of peer are others"):
        import_features([folder], dataset_of(IDS[:4]), tmp_path / "store", stream="other")


class Opens:
    def __reduce__(self):
        return open, ("/tmp/never", "w")


def forged_npy(path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))


def linked(path, link):
    with h5py.File(path, "w") as file:
        file["c2"] = link


def virtual(path):
    layout = h5py.VirtualLayout(shape=(3, 6), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3, 6))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("c2", layout)


def lying_elsewhere(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("c2", (3, 6), "f4", external=[("/etc/passwd", 0, 72)])


def unwritten(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("c2", (1 << 20, 1 << 20), "f4", chunks=(1, 64))


def looped(path):
    with h5py.File(path, "w") as file:
        file.create_group("a")["b"] = file["/"]


def claiming(path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c2.npy", b"\0" * 1000)
        archive.infolist()[0].file_size = 9 << 30


@pytest.mark.parametrize(
    ("name", "forge", "message"),
    [
        ("c2.npy", lambda path: forged_npy(path, "(3, 1000000000000)"), "cut short"),
        ("c2.npy", lambda path: forged_npy(path, "(-1, 3)"), "no npy array"),
        ("c2.npy", lambda path: np.save(path, np.array([Opens(), 1], dtype=object)), "which avr does not load"),
        ("c2.npy", lambda path: np.save(path, np.array(["a", "b"])), "c2.npy: no numbers"),
        ("c2.npy", os.mkfifo, "not a regular file"),
        ("c2.npz", bomb, "more than 8 GB"),
        ("c2.pkl", lambda path: path.write_bytes(pickle.dumps(Opens())), "asks for .*open, which avr does not load"),
        ("c2.pt", lambda path: torch.save(Opens(), path), "holds more than tensors"),
        ("c2.pt", lambda path: torch.save(torch.ones(1).expand(1 << 40), path), "more than the file holds"),
        ("c2.pt", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "cannot be read"),
        ("c2.safetensors", lambda path: path.write_bytes(b"\xff" * 8 + b"{}"), "cannot be read"),
        ("c2.safetensors", claiming, "cannot be read"),
        ("c2.mat", lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300)), "no MATLAB file of version 5"),
        ("c2.mat", lambda path: path.write_bytes(bytes(126) + b"IM" + bytes(9)), "an element of type 0"),
        ("c2.mat", lambda path: path.write_bytes(bytes(126) + b"IM\x0e\0\0\0\xff\xff\xff\xff"), "which are not there"),
        ("c2.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "cannot be read"),
        ("c2.h5", lambda path: linked(path, h5py.ExternalLink("/etc/other.h5", "x")), "is a link"),
        ("c2.h5", lambda path: linked(path, h5py.SoftLink("/c3")), "is a link"),
        ("c2.h5", virtual, "lies in other files"),
        ("c2.h5", lying_elsewhere, "lies in other files"),
        ("c2.h5", unwritten, "more than its 0 bytes can hold"),
        ("c2.h5", looped, "there twice"),
        ("c2.csv", lambda path: path.write_text("a,b\n1,2\n3,x\n"), "row 3: could not convert"),
        ("c2.csv", lambda path: path.write_text("1,2\n3\n"), "unequal length"),
        ("c2.avi", lambda path: path.write_bytes(b"x"), "not known; known: .npy"),
        ("c2.npz", lambda path: None, "cannot be opened"),
    ],
)  # fmt: skip
def test_forged_and_broken_files_are_one_line(name, forge, message, dataset, tmp_path):
    forge(tmp_path / name)
    with pytest.raises((UsageError, WorkError), match=message) as caught:
        import_features([tmp_path / name], dataset, tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_what_unfolds_without_end_is_refused_at_once(dataset, tmp_path):
    value = [1.0]
    for _ in range(40):
        value = [value, value]
    (tmp_path / "c2.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UsageError, match="refers to its own parts more often than it has bytes"):
        import_features([tmp_path / "c2.pkl"], dataset, tmp_path / "store")


def test_stream_names_of_files_lead_nowhere(arrays, dataset, tmp_path):
    np.savez(tmp_path / "all.npz", names=np.array(IDS), **{"../up": np.ones((5, 6), np.float32), "b": np.ones((5, 6))})
    result = import_features([tmp_path / "all.npz"], dataset, tmp_path / "store")
    assert sorted(result.streams) == ["_up", "b"]
    folder = one_each(tmp_path / "peer", arrays)
    with pytest.raises(UsageError, match=r"array name '\.\./x"):
        import_features([folder], dataset, tmp_path / "deep" / "store", stream="../x")


def test_an_export_comes_back_as_it_was(toy_store, tmp_path):
    export(toy_store, tmp_path / "toy")
    import_export(tmp_path / "toy", tmp_path / "back")
    with FeatureStore(toy_store) as one, FeatureStore(tmp_path / "back") as other:
        assert other.dataset == one.dataset == "toy"
        for name in ("ids", "paths", "groups", "labels", "views", "first_row", "frames"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
        assert other.class_names == one.class_names
        for name in one.split_names:
            np.testing.assert_array_equal(other.split(name), one.split(name))
        assert sorted(other.arrays) == sorted(one.arrays)
        for array in one.arrays.values():
            found = other.read_whole(array.stream, array.layer)
            np.testing.assert_array_equal(found, one.read_whole(array.stream, array.layer))
        np.testing.assert_array_equal(other.shown("flow")[1], one.shown("flow")[1])
    (tmp_path / "toy" / "videos.csv").write_text("ids\n1\n")
    with pytest.raises(UsageError, match="not as `avr store export` writes it"):
        import_export(tmp_path / "toy", tmp_path / "again")


def test_the_videos_of_a_store_are_those_of_its_plan(toy, toy_store, tmp_path):
    known = videos_of(toy_store)
    assert [video.id for video in known.videos] == [video.id for video in toy.dataset.videos]  # the failed one, too
    assert {name: (split.train, split.test) for name, split in known.splits.items()} == {
        name: (split.train, [video.id for video in known.videos if video.id in split.test])
        for name, split in toy.dataset.splits.items()
    }


def test_a_store_whose_videos_have_several_views_is_left_as_it_is(arrays, dataset, tmp_path):
    with StoreWriter(tmp_path / "s" / "own", dataset, arrays={"own/pooled": (2, 3)}, provenance={}) as writer:
        for shard in writer.shards():
            for video in shard.missing:
                shard.add(video, {"own/pooled": np.zeros((2, 2, 3))}, frames=0)
    one_each(tmp_path / "in", arrays)
    with pytest.raises(UsageError, match="has 2 views there, and 1 in what is imported"):
        import_features([tmp_path / "in"], dataset, tmp_path / "s")
    with FeatureStore(tmp_path / "s") as store:
        assert store.streams == ("own",)
