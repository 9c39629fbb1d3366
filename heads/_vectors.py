"""What a head makes of each video as one vector a stream, kept beside a split's scores as a small packed store."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import quiet
from avr.store import ATTENDED, FeatureStore, StoreWriter, pack, vectors_path

from ._base import Head
from ._examples import Examples


@torch.no_grad()
def read_vectors(head: Head, examples: Examples, videos: NDArray) -> dict[str, NDArray[np.float32]]:
    """`Head.vectors` of videos, `(len(videos), D)` by stream: the mean over their views; none of most heads."""
    head.eval()
    sums: dict[str, Tensor] = {}
    for features, owner in examples.views(videos):
        places = torch.as_tensor(owner).to(examples.device)
        found = head.vectors(head.standardise(head.keep(features)))
        if not found:
            return {}
        for stream, vectors in found.items():
            total = sums.setdefault(stream, vectors.new_zeros(len(videos), vectors.shape[1], dtype=torch.float64))
            total.index_add_(0, places, vectors.double())
    views = examples.rows[videos][:, None]
    return {stream: (total.cpu().numpy() / views).astype(np.float32) for stream, total in sums.items()}


def videos_of(store: FeatureStore, at: NDArray, split: str) -> Any:
    """Some of a store's videos, by their positions, and what of a split is among them, as a data set has them."""
    train, test = store.split(split)
    ids = store.ids.tolist()
    return SimpleNamespace(
        name=store.dataset,
        class_names=store.class_names,
        videos=[
            SimpleNamespace(id=ids[i], path=store.paths[i], label=int(store.labels[i]), group=store.groups[i])
            for i in at.tolist()
        ],
        splits={split: SimpleNamespace(train=[ids[i] for i in at if train[i]], test=[ids[i] for i in at if test[i]])},
    )


def write_vectors(
    folder: Path,
    dataset: Any,
    vectors: Mapping[str, NDArray],
    *,
    about: Mapping[str, Mapping[str, Any]],
    lacking: str = "",
) -> None:
    """Write vectors of a split's videos as a packed store, each stream with one layer of one step.

    Args:
        folder: the split's.
        dataset: of these M videos and this split alone: name, class names, videos, splits.
        vectors: stream -> `(M, D)`.
        about: stream -> what its part of the store says of how it was made; "kind" at least.
        lacking: what the store lacked that they were made of.
    """
    place = {str(video.id): row for row, video in enumerate(dataset.videos)}
    parts = folder / ATTENDED
    with quiet():
        for stream, rows in vectors.items():
            array = f"{stream}/{ATTENDED}"
            told = {"settings": dict(about[stream]), **({"lacking": lacking} if lacking else {})}
            with StoreWriter(parts / stream, dataset, arrays={array: (1, rows.shape[1])}, provenance=told) as writer:
                for shard in writer.shards():
                    for name in shard.video_ids:
                        shard.add(name, {array: rows[place[name]][None, None]}, frames=0)
        pack(parts, vectors_path(folder), overwrite=True)
    shutil.rmtree(parts)
