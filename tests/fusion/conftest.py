"""Made score sets, whose streams know different classes and whose groups share their noise."""

import numpy as np
import pytest


def make_scores(num_videos=300, num_classes=6, num_streams=2, *, seed=0, per_class=0.5, strength=1.0):
    """Logits `(M, S, K)`, labels and groups `(M,)`; videos of a group have one class and share part of their noise."""
    random = np.random.default_rng(seed)
    num_groups = max(num_videos // 5, 4)
    group = random.integers(0, num_groups, num_videos)
    labels = np.concatenate([np.arange(num_classes), random.integers(0, num_classes, num_groups)])[:num_groups][group]
    X = np.empty((num_videos, num_streams, num_classes))
    for stream in range(num_streams):
        signal = 2 * strength * np.exp(per_class * random.normal(size=num_classes))
        X[:, stream] = random.normal(size=(num_videos, num_classes))
        X[:, stream] += 0.7 * random.normal(size=(num_groups, num_classes))[group]
        X[np.arange(num_videos), stream, labels] += signal[labels]
    return X, labels, group


@pytest.fixture
def scores():
    return make_scores()
