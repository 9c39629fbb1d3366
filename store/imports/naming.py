"""Which video, and which stream, the names of foreign features mean: of files in a folder, or of arrays in a file."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avr.store.matching import alone, last_part, match_ids, sanitised, without_suffix

# What video_features writes beside the features of a video, and what it is.
RATE, TIMES = "fps", "timestamps_ms"
FACT = re.compile(rf"(.+)[_/]({RATE}|{TIMES})")

# A name in two, stream and video: "v1", "v1_rgb" or "v1/rgb", "rgb/v1".
WAYS: tuple[Callable[[str], tuple[str, str]], ...] = (
    lambda name: ("", name),
    lambda name: (found[2], found[1]) if (found := re.fullmatch(r"(.+)[_/]([^_/]+)", name)) else ("", ""),
    lambda name: (name.partition("/")[0], name.partition("/")[2]),
)


@dataclass(frozen=True)
class Meant:
    """What names mean.

    Attributes:
        streams: stream, "" where the names tell none, to position of the video's id to position of the name.
        facts: "fps" and "timestamps_ms" to the same.
        doubles: pairs of names of one stream that mean one video.
    """

    streams: dict[str, dict[int, int]]
    facts: dict[str, dict[int, int]]
    doubles: list[tuple[int, int]]

    @property
    def known(self) -> set[int]:
        """The names that mean something."""
        return {name for part in (self.streams, self.facts) for found in part.values() for name in found.values()}


def read_names(names: Sequence[str], ids: Sequence[str]) -> Meant:
    """Find which names mean which videos.

    All names are taken in one way, that in which most of them meet an id as names of scores do: whole, or with a stream
    behind them (`_rgb`) or before them (`rgb/`). Such a stream is one that more than half as many videos have as have
    the most frequent one: a stray file is none.
    """
    own = {without_suffix(video).rpartition("/")[2] for video in ids}
    facts: dict[str, dict[str, int]] = {RATE: {}, TIMES: {}}
    left = []
    for index, name in enumerate(names):
        fact = FACT.fullmatch(name)
        if fact and without_suffix(name).rpartition("/")[2] not in own:
            facts[fact[2]][fact[1]] = index
        else:
            left.append(index)
    best: dict[str, dict[int, int]] = {}
    split: list[tuple[str, str]] = []
    for way in WAYS:
        parts = [way(names[index]) for index in left]
        found = _by_stream(parts, left, ids)
        count = sum(map(len, found.values()))
        if count > sum(map(len, best.values())):
            best, split = found, parts
        if count == len(left):
            break
    known = {kind: _matched(list(found), list(found.values()), ids) for kind, found in facts.items()}
    return Meant(best, {kind: found for kind, found in known.items() if found}, _doubles(split, left, ids, best))


def _by_stream(
    parts: Sequence[tuple[str, str]], places: Sequence[int], ids: Sequence[str]
) -> dict[str, dict[int, int]]:
    """Of names cut into stream and video: the streams that enough videos have."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, (stream, video) in enumerate(parts):
        if video:
            groups[stream].append(index)
    most = max(map(len, groups.values()), default=0)
    found = {
        stream: _matched([parts[index][1] for index in members], [places[index] for index in members], ids)
        for stream, members in groups.items()
        if 2 * len(members) > most
    }
    most = max(map(len, found.values()), default=0)
    return {stream: videos for stream, videos in sorted(found.items()) if videos and 2 * len(videos) > most}


def _matched(videos: Sequence[str], places: Sequence[int], ids: Sequence[str]) -> dict[int, int]:
    """Position of id → place, of videos by their names."""
    return {video: places[there] for there, video in match_ids(ids, videos).items()}


def _doubles(
    parts: Sequence[tuple[str, str]], places: Sequence[int], ids: Sequence[str], streams: dict[str, dict[int, int]]
) -> list[tuple[int, int]]:
    """Pairs of names that mean one video of one stream: "v1" twice, of two suffixes, or "v1" and "a/v1"."""
    whole, last = alone(ids, sanitised), alone(ids, last_part)
    pairs = []
    for stream, found in streams.items():
        taken = dict(found)
        names = {place: video for (own, video), place in zip(parts, places, strict=True) if own == stream}
        for place, name in names.items():
            video = whole.get(sanitised(name), last.get(last_part(name)))
            if video is None:
                continue
            other = taken.setdefault(video, place)
            if other != place and _alike(sanitised(name), sanitised(names[other])):
                pairs.append((other, place))
    return pairs


def _alike(one: str, other: str) -> bool:
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")
