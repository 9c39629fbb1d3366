"""What a head says of videos: scores of each output, and how well they do."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avr.core import WorkError

from ._base import Head, with_average
from ._examples import Examples


@torch.no_grad()
def predict(
    head: Head, examples: Examples, videos: NDArray, *, names: NDArray | None = None
) -> dict[str, NDArray[np.float32]]:
    """Log-probabilities of videos, `(len(videos), K)` by output: the mean over views of the softmax, and its log.

    Of single-stream networks in one head (`load_head`) there are their "average" and "multiply" too.

    Args:
        head: trained.
        examples: features, on the head's device.
        videos: indices among them.
        names: id of each video, for the message.

    Raises:
        WorkError: scores that are no numbers, as damaged features give; names the videos.
    """
    head.eval()
    sums: dict[str, Tensor] = {}
    for features, owner in examples.views(videos):
        places = torch.as_tensor(owner).to(examples.device)
        for name, scores in head(features).items():
            if name not in sums:
                sums[name] = torch.zeros(len(videos), scores.shape[1], dtype=torch.float64, device=scores.device)
            sums[name].index_add_(0, places, torch.softmax(scores.double(), dim=1))
    views = torch.as_tensor(examples.rows[videos], dtype=torch.float64)[:, None]
    # float64, so that the runner-up of a saturated softmax keeps a finite logarithm.
    logs = {name: torch.log((total.cpu() / views).clamp_min(1e-300)) for name, total in sums.items()}
    bad = np.zeros(len(videos), dtype=bool)
    for scores in logs.values():
        bad |= ~torch.isfinite(scores).all(dim=1).numpy()
    if bad.any():
        listed = "its features" if names is None else ", ".join(map(str, names[videos[bad]]))
        raise WorkError(f"the scores are no numbers, as damaged features or a damaged head give them: {listed}")
    return with_average({name: scores.float().numpy() for name, scores in logs.items()})


def evaluate(head: Head, examples: Examples, videos: NDArray, *, names: NDArray | None = None) -> dict[str, float]:
    """Cross-entropy and accuracy of the head's prediction on some videos."""
    outputs = predict(head, examples, videos, names=names)
    scores, labels = outputs[head.prediction], examples.labels[videos]
    loss = -float(scores[np.arange(len(labels)), labels].mean())
    return {"validation_loss": loss, "validation_accuracy": float((scores.argmax(axis=1) == labels).mean())}
