"""What a store or score file holds, as plain values."""

from pathlib import Path
from typing import Any

import numpy as np

from avr.store.disk import open_handle
from avr.store.scores.file import TRAINED_ON, is_test, read_scores
from avr.store.sealed import read_seal

from .index import INDEX_NAME
from .reader import FeatureStore, open_catalog


def describe(path: Path | str) -> dict[str, Any]:
    """Describe a store's folder, a packed file or a score file, with plain values only.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
        WorkError: damaged.
    """
    path = Path(path)
    if path.is_dir():
        return describe_store(path)
    with open_handle(path) as handle:
        kind = read_seal(handle, path).kind
    return describe_scores(path) if kind == "scores" else describe_store(path)


def describe_store(path: Path) -> dict[str, Any]:
    """Describe a store: data set, arrays with shapes and sizes, splits, failures, provenance."""
    catalog = open_catalog(path)
    with FeatureStore(path) as store:
        parts = {name: store.split(name) for name in store.split_names}
        rows = int(store.views.sum())
        files = [path / name for name, _, _ in catalog.files] if path.is_dir() else [path]
        files += [path / INDEX_NAME, path / "plan.h5"] if path.is_dir() else []
        return {
            "kind": "store",
            "path": str(path),
            "packed": not path.is_dir(),
            "dataset": store.dataset,
            "videos": len(store),
            "classes": len(store.class_names),
            "class_names": list(store.class_names),
            "groups": len(np.unique(store.groups)),
            "rows": rows,
            "frames_decoded": int(store.frames.sum()),
            "arrays": {
                array.name: {
                    "shape": list(array.shape),
                    "dtype": str(array.dtype),
                    "bytes": store.nbytes(array.stream, array.layer),
                }
                for array in store.arrays.values()
            },
            "splits": {
                name: {"train": int(train.sum()), "test": int(test.sum())} for name, (train, test) in parts.items()
            },
            "failures": store.failures,
            "complete": store.complete,
            "missing_shards": len(catalog.missing_shards),
            "shards": len(catalog.files),
            "shard_videos": catalog.plan.shard_videos,
            "compression": catalog.plan.compression,
            "bytes_on_disk": sum(file.stat().st_size for file in files if file.exists()),
            "provenance": store.provenance,
            "digest": store.digest,
        }


def describe_scores(path: Path) -> dict[str, Any]:
    """Describe a score file."""
    scores = read_scores(path)
    return {
        "kind": "scores",
        "path": str(path),
        "dataset": scores.dataset,
        "head": scores.head,
        "split": scores.split,
        "videos": len(scores.ids),
        "test_videos": int(is_test(scores.fold).sum()),
        "out_of_fold_videos": int((scores.fold >= 0).sum()),
        "trained_on_videos": int((scores.fold == TRAINED_ON).sum()),
        "classes": len(scores.class_names),
        "class_names": list(scores.class_names),
        "groups": len(np.unique(scores.groups)),
        "numbers": scores.kind,
        "streams": list(scores.streams),
        "fused": scores.fused,
        "provenance": scores.provenance,
    }
