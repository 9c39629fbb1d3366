"""What a head makes of each video as one vector a stream, kept beside a split's scores as a small packed store."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

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


def write_vectors(
    folder: Path, store: FeatureStore, vectors: Mapping[str, NDArray], *, at: NDArray, split: str, head: str
) -> None:
    """Write vectors of a split's videos as a packed store, each stream with one layer of one step.

    Args:
        folder: the split's.
        store: whose videos they are.
        vectors: stream -> `(len(at), D)`.
        at: positions of the videos in the store.
        split: whose training and test videos they are. head: its name.
    """
    train, test = store.split(split)
    about = {str(store.ids[i]): i for i in np.sort(at)}
    place = {int(video): row for row, video in enumerate(at)}
    videos = [
        SimpleNamespace(id=name, path=store.paths[i], label=int(store.labels[i]), group=store.groups[i])
        for name, i in about.items()
    ]
    part = SimpleNamespace(
        train=[name for name, i in about.items() if train[i]], test=[name for name, i in about.items() if test[i]]
    )
    dataset = SimpleNamespace(name=store.dataset, class_names=store.class_names, videos=videos, splits={split: part})
    parts = folder / ATTENDED
    with quiet():
        for stream, rows in vectors.items():
            settings = {"kind": store.kind(stream), "head": head, "store": store.digests[stream]}
            array = f"{stream}/{ATTENDED}"
            with StoreWriter(
                parts / stream, dataset, arrays={array: (1, rows.shape[1])}, provenance={"settings": settings}
            ) as writer:
                for shard in writer.shards():
                    for name in shard.video_ids:
                        row = rows[place[about[name]]]
                        shard.add(name, {array: row[None, None]}, frames=int(store.frames[about[name]]))
        pack(parts, vectors_path(folder))
    shutil.rmtree(parts)
