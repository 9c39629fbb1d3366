"""What a head trained end to end makes of each video, kept beside its scores as `avr heads train` keeps it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avr.heads import write_vectors

from .networks import EndToEnd
from .samples import fixed_inputs
from .task import Task


@torch.no_grad()
def keep_vectors(task: Task, network: EndToEnd, folder: Path) -> None:
    """Write `Head.vectors` of the split's training and test videos, by the frames and crops that extraction takes."""
    videos = tuple(video for part in task.videos for video in part)
    streams, bf16, _ = task.tested
    rows: dict[str, list[NDArray[np.float32]]] = {}
    network.eval()
    for inputs in fixed_inputs(videos, task.cache, streams, device=task.processes.device, at_once=1):
        found = network.vectors(inputs, bf16=bf16)
        if not found:
            return
        for stream, vector in found.items():
            rows.setdefault(stream, []).append(vector.float().cpu().numpy())
    dataset = replace(task.dataset, videos=videos, splits={task.split.name: task.split})
    about = {stream: {"kind": streams[stream].kind} for stream in rows}
    write_vectors(folder, dataset, {stream: np.stack(made) for stream, made in rows.items()}, about=about)
