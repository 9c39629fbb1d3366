"""What `avr attention` draws: attention over the frames it was paid to, and what a network's layers make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image  # torchvision brings Pillow

from avr.core import UsageError, check_known, claim_folder, item_names, write_folder, write_whole
from avr.extract import Extractor, Origin, Running, Settings, crop_images, refuse_unused, restore_video
from avr.heads import Head, TrainedRun, head_class, load_run
from avr.store import FeatureStore, warn_unfinished
from avr.video import read_frames

Images = NDArray[np.uint8]  # (N, H, W, 3) RGB
FRAME_MILLISECONDS = 400  # of one step in the GIF
CHANNELS = 6  # of a layer that are drawn, as in Ou & Sun 2019, fig. 7


@dataclass(frozen=True)
class Drawn:
    """What was written.

    Attributes:
        folder: where.
        pictures: PNG files, one a step and kind of attention, or layer.
        animations: a GIF of the frames, and beside them each kind of attention; one for each stream that looks at
            frames of its own.
        frames: stream -> the video's frames shown, by number.
        weights: kind -> weights as the head gave them, `(N, h, w)` or `(N,)`.
        maps: "<stream>-<layer>" -> what the layer gave, `(N, C, h, w)`.
    """

    folder: Path
    pictures: tuple[Path, ...]
    animations: tuple[Path, ...]
    frames: dict[str, tuple[int, ...]]
    weights: dict[str, NDArray[np.float32]]
    maps: dict[str, NDArray[np.float32]]


def draw_attention(  # noqa: PLR0913 (all it can be told, keyword-only)
    run: Path,
    video: str,
    out: Path,
    *,
    split: str | None = None,
    view: int = 0,
    store: Path | Sequence[Path] | None = None,
    root: Path | None = None,
    layers: Sequence[str] = (),
    weights: Sequence[str] = (),
    overwrite: bool = False,
) -> Drawn:
    """Write a video's frames with a run's attention laid over them.

    Maps are enlarged to the frame bilinearly and mixed with it half and half (Zheng et al. 2020, fig. 1). Weights over
    segments darken the frames that have little, with a bar for the weight. Frames are shown as the network saw them,
    resized and cropped. Of layers the first six channels stand side by side, in the GIF beside the frame, each
    from its smallest value in the view (blue) to its largest (Ou & Sun 2019, fig. 7).

    Args:
        run: folder of a run, or of one of its splits.
        video: id in the store.
        out: folder for the pictures.
        split: of the run; None takes its first.
        view: which of the video's views, counted from 0.
        store: feature store, or several; None takes those the run was trained on.
        root: folder of the videos; None takes the place the store remembers.
        layers: of the streams' networks, by names as `avr extract --layers` takes them, that give maps: "conv5_3", or
            "flow=features.0" of another stream than the first.
        weights: where their weights lie now, "rgb=FILE", if not where they were.
        overwrite: pictures of the same names may be replaced in `out`; else it must be new or empty.

    Raises:
        UsageError: a head without attention and no layers, a layer that gives no maps, an unknown video or view, a
            file or store that is not there, weights that are gone or not read; an `out` that holds something.
    """
    if weights and not layers:
        raise UsageError(f"--weights {weights[0]}: only --layer reads them: name a layer, or leave it out")
    claim_folder(out, overwrite=overwrite)
    trained = load_run(run, split=split)
    warn_unfinished(run)
    origin = Origin.of(trained.metadata, trained.folder)
    with _open_store(origin, (store,) if isinstance(store, Path) else tuple(store or ())) as features:
        ids = features.ids.tolist()
        check_known("video", video, ids, listed="see avr store info")
        place = ids.index(video)
        found = look(trained, features, place, view=view, root=root)
        if layers:
            found = with_maps(found, origin, features, place, layers, view=view, root=root, weights=weights)
    if not found.seen:
        showing = [name for name in item_names("avr.heads") if head_class(name).attention is not Head.attention]
        raise UsageError(
            f"head {trained.metadata['head']} has no attention to show: name a layer of its network with --layer; "
            f"heads that have, unless their options leave it out: {', '.join(showing)}"
        )
    pictures, animations = _write(out, found)
    frames = {stream: tuple(numbers) for stream, (numbers, _) in found.seen.items()}
    return Drawn(out, pictures, animations, frames, found.weights, found.maps)


def _open_store(origin: Origin, given: tuple[Path, ...]) -> FeatureStore:
    """The features of a run, or those given in their place; refused in one line where they are gone."""
    own = origin.stores
    gone = [path for path in given or own if not path.exists()]
    if gone or not (given or own):
        where = f"the run's store is not at {gone[0]}" if gone else "the run has no store of its own"
        others = f", each of the {len(own)}, in folders called as they were" if len(own) > 1 else ""
        raise UsageError(f"{where}: name it with --store{others}")
    return origin.open_store(() if given == own else given)


@dataclass(frozen=True)
class Look:
    """One view of a video as a head attended to it.

    Attributes:
        weights: kind -> weights, as in `Drawn`.
        shown: kind -> the stream whose frames it is laid over.
        seen: stream -> numbers and pictures `(N, H, W, 3)` of these frames, as the network saw them.
        maps: as in `Drawn`.
    """

    weights: dict[str, NDArray[np.float32]]
    shown: dict[str, str]
    seen: dict[str, tuple[list[int], Images]]
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def laid_over(self, kind: str) -> Images:
        """The frames `(N, H, W, 3)` under one kind of attention; of a layer its channels `(N, H, 6 W, 3)`."""
        if kind in self.maps:
            return channels_of(self.maps[kind], self.seen[self.shown[kind]][1].shape[1:3])
        values, images = self.weights[kind], self.seen[self.shown[kind]][1]
        return over_positions(images, values) if values.ndim == 3 else over_segments(images, values)


def look(trained: TrainedRun, store: FeatureStore, place: int, *, view: int = 0, root: Path | None = None) -> Look:
    """What a head attends to in one view of one video, and the frames of it; nothing of a head without attention.

    Raises:
        UsageError: no such view, or a video that is not where it should be.
        WorkError: a video that does not decode.
    """
    weights = _weights(trained, store, place, view)
    shown = {kind: _stream_of(kind, len(values), store, trained) for kind, values in weights.items()}
    seen = {one: _images(store, one, place, view, root) for one in dict.fromkeys(shown.values())}
    return Look(weights, shown, seen)


def with_maps(
    found: Look,
    origin: Origin,
    store: FeatureStore,
    place: int,
    layers: Sequence[str],
    *,
    view: int,
    root: Path | None,
    weights: Sequence[str],
) -> Look:
    """A look with what layers of the streams' networks make of the same view; see `draw_attention`."""
    asked: dict[str, list[str]] = {}
    for text in layers:
        stream, _, layer = text.rpartition("=")
        asked.setdefault(stream or next(iter(origin.settings)), []).append(layer)
    for stream in asked:
        check_known("stream", stream, origin.settings)
    settings = {stream: origin.settings[stream].change(layers=tuple(names)) for stream, names in asked.items()}
    refuse_unused(weights, [settings])
    networks = replace(origin, settings=settings).restore_networks(weights)
    extractor = Extractor(settings, running=Running(device="cpu"), networks=networks)
    arrays, _ = extractor.features(restore_video(store, place, root))
    maps = {f"{stream}-{layer}": arrays[f"{stream}/{layer}"][view] for stream in asked for layer in asked[stream]}
    flat = [name for name, array in maps.items() if array.ndim != 4]
    if flat:
        raise UsageError(f"{flat[0]}: gives no maps; name a layer whose output has height and width")
    shown = {f"{stream}-{layer}": stream for stream in asked for layer in asked[stream]}
    seen = {stream: _images(store, stream, place, view, root) for stream in asked if stream not in found.seen}
    return replace(found, shown=found.shown | shown, seen=found.seen | seen, maps=maps)


def channels_of(maps: NDArray, size: tuple[int, int]) -> Images:
    """The first channels of maps `(N, C, h, w)` side by side, each `size` (H, W), red its largest value of all."""
    some = maps[:, :CHANNELS].astype(np.float32)
    low, high = (edge(some, axis=(0, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled = (some - low) / np.maximum(high - low, 1e-12)
    return np.stack([np.concatenate([_heat(channel, size) for channel in step], axis=1) for step in scaled])


def _heat(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Values `(h, w)` in 0…1 as colours `(H, W, 3)`, enlarged bilinearly."""
    large = cv2.resize(values, size[::-1])
    colours = cv2.applyColorMap((255 * large.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    return np.asarray(colours, dtype=np.uint8)


def _write(out: Path, found: Look) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Pictures and animations of each stream's frames, under each kind of attention that is laid over them."""
    pictures: list[str] = []
    animations: list[str] = []
    with write_folder(out) as folder:
        for stream, (_, images) in found.seen.items():
            panels = [images]
            for kind in (kind for kind, own in found.shown.items() if own == stream):
                panels.append(found.laid_over(kind))
                for step, image in enumerate(panels[-1]):
                    pictures.append(f"{kind}-{step:02d}.png")
                    _write_png(folder / pictures[-1], image)
            animations.append(f"attention-{stream}.gif" if len(found.seen) > 1 else "attention.gif")
            _write_gif(folder / animations[-1], np.concatenate(panels, axis=2))
    return tuple(out / name for name in pictures), tuple(out / name for name in animations)


def _stream_of(kind: str, steps: int, store: FeatureStore, trained: TrainedRun) -> str:
    """The stream whose frames a kind of attention is laid over: that it is named by, or one of as many steps, all of
    whose frames are the same."""
    streams = [one for one in trained.layers if store.array(one, trained.layers[one]).shape[0] == steps]
    named = [one for one in streams if kind == one or kind.startswith(f"{one}-")]
    first = max(named, key=len) if named else streams[0]
    alike = (one for one in streams if np.array_equal(store.shown(one)[0], store.shown(first)[0]))
    return next(alike)


def over_positions(images: Images, weights: NDArray) -> Images:
    """Frames `(N, H, W, 3)` mixed half and half with their maps `(N, h, w)` in colour, red the largest.

    Maps that each sum to one are scaled each by itself; maps that sum to one together, by the largest of all.
    """
    each = np.allclose(weights.sum((1, 2)), 1, atol=1e-2)
    shown = np.empty_like(images)
    for step, (image, map_) in enumerate(zip(images, weights, strict=True)):
        largest = map_.max() if each else weights.max()
        heat = _heat(map_.astype(np.float32) / max(float(largest), 1e-12), image.shape[:2])
        shown[step] = (image.astype(np.uint16) + heat) // 2
    return shown


def over_segments(images: Images, weights: NDArray) -> Images:
    """Frames `(N, H, W, 3)` as bright as their weight `(N,)` is against the largest, with a bar of that length."""
    shown = np.empty_like(images)
    height, width = images.shape[1:3]
    for step, share in enumerate(weights / max(float(weights.max()), 1e-12)):
        shown[step] = (images[step] * (0.25 + 0.75 * share)).astype(np.uint8)
        shown[step, height - max(height // 24, 1) :, : round(float(share) * width)] = (255, 64, 0)
    return shown


def _weights(trained: TrainedRun, store: FeatureStore, place: int, view: int) -> dict[str, NDArray[np.float32]]:
    """A head's attention on one view of one video, `(N, h, w)` or `(N,)` by kind.

    Raises:
        UsageError: the video has no such view.
    """
    views = int(store.views[place])
    if not 0 <= view < views:
        raise UsageError(f"the video has views 0 to {views - 1}, not {view}")
    features = {}
    for stream, layer in trained.layers.items():
        array = store.read(stream, layer, [place])[view : view + 1]
        features[stream] = torch.as_tensor(array.astype(np.float32))
    with torch.no_grad():
        return {kind: values[0].float().numpy() for kind, values in trained.head.attend(features).items()}


def _images(store: FeatureStore, stream: str, place: int, view: int, root: Path | None) -> tuple[list[int], Images]:
    """Numbers and pictures of the frames of one view, `(N, H, W, 3)`, resized and cropped as they were extracted.

    Raises:
        UsageError: the video is not where it should be, or the store does not say how its frames were taken.
    """
    video = restore_video(store, place, root)
    try:
        settings = Settings.from_dict(store.settings(stream), stream)
    except (UsageError, TypeError) as error:
        raise UsageError(f"the store does not say how frames were taken from its videos: {error}") from None
    crops = settings.crops_a_view
    numbers = store.shown(stream)[0][int(store.first_row[place]) + view].tolist()
    if min(numbers) < 0:  # a store of before they were kept
        numbers = settings.sampling.sample(int(store.frames[place]), key=video.id)[view // crops].tolist()
    frames = read_frames(video, numbers)
    cropped = crop_images(torch.as_tensor(frames).permute(0, 3, 1, 2), settings)[view % crops]
    return numbers, cropped.permute(0, 2, 3, 1).contiguous().numpy()


def _write_png(path: Path, image: Images) -> None:
    with write_whole(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def _write_gif(path: Path, images: Images) -> None:
    """All steps as one endless animation."""
    first, *others = [Image.fromarray(image) for image in images]
    with write_whole(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=others, duration=FRAME_MILLISECONDS, loop=0)
