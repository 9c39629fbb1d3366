"""A store as a dataset of torch, for trainings of one's own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from avr.store import FeatureStore


class FeatureDataset(Dataset[tuple[dict[str, Tensor], int]]):
    """Features and labels of a store's videos, for a `torch.utils.data.DataLoader`, with workers or without.

        store = FeatureStore("features/clips")
        train, test = store.split("1")
        loader = DataLoader(FeatureDataset(store, ["rgb/pooled"], train), batch_size=32, shuffle=True)

    An item is `(features, label)`: array's name to float32 `(*shape)`, that of one view, and the class number. Batches
    are read from disk at once, and kept in memory where the store keeps them (`cache_bytes`).

    Args:
        store: an open store, or the path of one.
        arrays: names, such as "rgb/pooled"; empty is all of the store.
        videos: ids, positions or a mask, as `FeatureStore.read` takes them; None is all.
        every_view: one item for each view of each video; else one a video, of a view that is drawn (by torch's
            generator) each time.

    Attributes:
        videos: (items,) position in the store of each item's video: to average the views of one.

    Raises:
        UsageError: no such array or video.
    """

    def __init__(
        self,
        store: FeatureStore | Path | str,
        arrays: Sequence[str] = (),
        videos: ArrayLike | None = None,
        *,
        every_view: bool = False,
    ) -> None:
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        self.arrays = [self.store.array(*name.partition("/")[::2]) for name in arrays or self.store.arrays]
        chosen = np.arange(len(self.store)) if videos is None else self.store.positions(videos)
        self.videos = np.repeat(chosen, self.store.views[chosen]) if every_view else chosen
        self._views = np.concatenate([np.arange(n) for n in [0, *self.store.views[chosen]]]) if every_view else None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, item: int) -> tuple[dict[str, Tensor], int]:
        return self.__getitems__([range(len(self))[item]])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[dict[str, Tensor], int]]:
        """Several items at once, which is how a DataLoader asks."""
        chosen = self.videos[np.asarray(items)]
        if self._views is None:
            views = (torch.rand(len(chosen)).numpy() * self.store.views[chosen]).astype(np.int64)
        else:
            views = self._views[np.asarray(items)]
        rows = self.store.first_row[chosen] + views
        read = {a.name: torch.from_numpy(self.store.read_rows(a.stream, a.layer, rows)).float() for a in self.arrays}
        labels = self.store.labels[chosen].tolist()
        return [({name: values[place] for name, values in read.items()}, label) for place, label in enumerate(labels)]
