# %% [markdown]
# A session on a store: look at it, train heads, fuse them by scikit-learn's tools, plot.
#
# A store comes from `avr extract`; of `avr extract --dataset shapes --backbone squeezenet1_1 --weights random` nothing
# is downloaded. Name another one as the first argument.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold

import avr

path = Path(sys.argv[1] if len(sys.argv) > 1 else "features/shapes")
store = avr.store.FeatureStore(path)
store

# %% What is in it
frame = store.to_frame()
print(frame.groupby("label").agg(videos=("frames", "size"), frames=("frames", "mean")))
train, test = store.split(store.split_names[0])
print(store.read("rgb", "pooled", test).shape)

# %% A head, with out-of-fold scores of the training videos to learn a fusion from
result = avr.heads.train_run(path, "linear", folds=2)
print(result)

# %% Fuse: a rule is a scikit-learn classifier, so its options are searched by folds that keep groups whole
table = avr.fusion.gather([result.folder])
seen = table.fold >= 0
search = GridSearchCV(avr.fusion.Awf(), {"balance": [0.1, 1.0]}, cv=GroupKFold(2), scoring="accuracy")
search.fit(table.X[seen], table.labels[seen], groups=table.groups[seen])
print(search.best_params_, f"{100 * search.score(table.X[~seen], table.labels[~seen]):.1f} % of the test videos")

# %% How sure is it where it is wrong?
probability = search.predict_proba(table.X[~seen])
right = probability.argmax(axis=1) == table.labels[~seen]
figure, axes = plt.subplots(figsize=(5, 3))
axes.hist(
    [probability.max(axis=1)[right], probability.max(axis=1)[~right]],
    bins=np.linspace(0, 1, 11),
    label=["right", "wrong"],
)
axes.set(xlabel="probability of the predicted class", ylabel="test videos")
axes.legend()
figure.savefig("confidence.png", dpi=120)
