"""How a store shows itself: in a line, as a table in a notebook, as a pandas frame of its videos."""

from html import escape
from typing import Any

from avr.core import first_few, load_extra


class Shown:
    """What `FeatureStore`, whose base it is, says of itself, of the columns that it has."""

    def _told(self: Any) -> dict[str, str]:
        """What it holds, by what to call it."""
        arrays = [f"{name} {'×'.join(map(str, array.shape))}" for name, array in self.arrays.items()]
        told = {
            "videos": str(len(self.ids)),
            "classes": str(len(self.class_names)),
            "splits": first_few(self.split_names, 6),
            "arrays": ", ".join(arrays),
            "failures": str(len(self.failures) or ""),
            "lacking": self.lacking,
        }
        return {name: value for name, value in told.items() if value}

    def __repr__(self: Any) -> str:
        told = self._told()
        lacking = f", lacks {told['lacking']}" if "lacking" in told else ""
        held = f"{told['videos']} videos, {told['classes']} classes, {told['arrays']}"
        return f"FeatureStore({self.dataset}: {held}{lacking}; {self._named})"

    def _repr_html_(self: Any) -> str:
        """What notebooks show. Names are anybody's, so they are escaped."""
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in self._told().items()
        )
        return f"<table><caption>{escape(self.dataset)}, {escape(self._named)}</caption><tbody>{rows}</tbody></table>"

    def to_frame(self: Any) -> Any:
        """A pandas DataFrame of a row a video, with the ids as its index.

        Columns: label (the class's name), group, path, frames, views, what is known of the file (rate, seconds, width,
        height, codec …), and "split NAME" for each split, which is "train", "test" or None.

        Raises:
            UsageError: pandas is not installed.
        """
        pd = load_extra("pandas", "a DataFrame")
        columns: dict[str, Any] = {
            "label": [self.class_names[label] for label in self.labels],
            "group": self.groups.tolist(),
            "path": self.paths.tolist(),
            "frames": self.frames,
            "views": self.views,
            **{name: values.tolist() if values.dtype.kind in "US" else values for name, values in self.facts.items()},
        }
        for name in self.split_names:
            parts = zip(*self.split(name), strict=True)
            columns[f"split {name}"] = ["train" if train else "test" if test else None for train, test in parts]
        return pd.DataFrame(columns, index=pd.Index(self.ids.tolist(), name="id"))
