"""Material that other processes read in place: small bytes, and tensors whose memory they map or are handed."""

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from torch import Tensor

from avr.core import WorkError, as_size

from ._trainings import Material, as_tensor


def take_apart(material: Material) -> tuple[bytes, list[Tensor]]:
    """Material as bytes, which are small, and the tensors in it, each once."""
    places: dict[tuple[Any, ...], int] = {}
    tensors: list[Tensor] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> int | None:
            if not isinstance(thing, Tensor):
                return None
            place = places.setdefault((thing.data_ptr(), thing.dtype, thing.shape), len(tensors))
            if place == len(tensors):
                tensors.append(thing)
            return place

    out = BytesIO()
    Pickler(out).dump(material)
    return out.getvalue(), tensors


def put_together(data: bytes, tensors: list[Tensor]) -> Material:
    """The material of `take_apart`, of its own tensors or of others with their values."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, place: int) -> Tensor:
            return tensors[place]

    material: Material = Unpickler(BytesIO(data)).load()
    return material


@contextmanager
def moved_to_file(tensor: Tensor) -> Iterator[str]:
    """Move a tensor's values to memory that another process can map; gives the path that stands for it, inside.

    On Linux it is no file on a disk, nor in /dev/shm, which containers keep small.

    Raises:
        WorkError: there is no room for it.
    """
    with ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            file = stack.enter_context(os.fdopen(os.memfd_create("avr-features"), "w+b"))
            path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="avr-", ignore_cleanup_errors=True))
            path = os.path.join(folder, "features")
        values = tensor.numpy()
        try:
            shared = np.memmap(path, values.dtype, "w+", shape=values.shape)
        except OSError as error:  # a full folder for temporary files, or a limit of file sizes
            size = as_size(values.nbytes)
            raise WorkError(f"no room for {size} that workers share ({error.strerror}); try --workers 1") from error
        shared[...] = values
        tensor.data = as_tensor(shared)  # what held them is free
        yield path
