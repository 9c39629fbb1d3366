"""What a store holds, as plain values."""

from pathlib import Path
from typing import Any

import numpy as np

from .index import INDEX_NAME, open_catalog
from .plan import PLAN_NAME
from .reader import FeatureStore


def describe_store(path: Path) -> dict[str, Any]:
    """Describe a store's folder or packed file: data set, arrays with shapes and sizes, splits, failures, provenance.

    Raises:
        UsageError: no store there, or of another format version.
        WorkError: damaged.
    """
    catalog = open_catalog(path)
    with FeatureStore(path) as store:
        parts = {name: store.split(name) for name in store.split_names}
        files = [path / name for name, _, _ in catalog.files] if path.is_dir() else [path]
        files += [path / INDEX_NAME, path / PLAN_NAME] if path.is_dir() else []
        return {
            "kind": "store",
            "path": str(path),
            "packed": not path.is_dir(),
            "dataset": store.dataset,
            "videos": len(store),
            "classes": len(store.class_names),
            "class_names": list(store.class_names),
            "groups": len(np.unique(store.groups)),
            "rows": int(store.views.sum()),
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
            "notes": store.notes,
            "complete": store.complete,
            "missing_shards": len(catalog.missing_shards),
            "shards": len(catalog.files),
            "shard_videos": catalog.plan.shard_videos,
            "bytes_on_disk": sum(file.stat().st_size for file in files if file.exists()),
            "provenance": store.provenance,
            "digest": store.digest,
        }
