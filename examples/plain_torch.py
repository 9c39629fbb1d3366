# %% [markdown]
# A network of one's own in plain torch, on a store; its scores judged and fused beside avr's heads.
#
# Name a store as the first argument; by default it is `features/shapes`, as of `examples/notebook.py`.

# %%
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

import avr

store = avr.store.FeatureStore(Path(sys.argv[1] if len(sys.argv) > 1 else "features/shapes"))
split = store.split_names[0]
train, test = store.split(split)

# %% A network on the mean over steps
torch.manual_seed(0)
network = nn.Linear(store.array("rgb", "pooled").shape[-1], len(store.class_names))
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
loader = DataLoader(avr.heads.FeatureDataset(store, ["rgb/pooled"], train), batch_size=32, shuffle=True)
for _ in range(20):
    for features, labels in loader:
        loss = nn.functional.cross_entropy(network(features["rgb/pooled"].mean(dim=1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"loss of the last batch {loss.item():.3f}")

# %% Scores of the test videos, averaged over their views, as a file that `avr fuse` and `avr runs predictions` take
views = avr.heads.FeatureDataset(store, ["rgb/pooled"], test, every_view=True)
with torch.no_grad():
    rows = torch.cat(
        [network(features["rgb/pooled"].mean(dim=1)).softmax(dim=1) for features, _ in DataLoader(views, 64)]
    )
positions = np.flatnonzero(test)
probabilities = np.stack([rows[views.videos == position].mean(dim=0).numpy() for position in positions])
scores = avr.store.Scores.of(
    store, {"mine": probabilities}, at=positions, kind="probabilities", split=split, head="mine"
)
avr.store.write_scores("runs/mine/scores.h5", scores)
right = probabilities.argmax(axis=1) == store.labels[positions]
print(scores, f"{100 * right.mean():.1f} % right")
