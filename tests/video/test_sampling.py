"""Sampling plans and what they need against literal lists; no video is needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr.core import UsageError
from avr.video import Sampling, Steps, sampling


@pytest.mark.parametrize(
    ("num_frames", "num_segments", "expected"),
    [
        pytest.param(12, 3, [[2, 6, 10]], id="centres-of-equal-segments"),
        pytest.param(7, 7, [[0, 1, 2, 3, 4, 5, 6]], id="as-many-frames-as-segments"),
        pytest.param(10, 3, [[1, 5, 8]], id="uneven"),
        pytest.param(3, 7, [[0, 1, 2, 2, 2, 2, 2]], id="shorter-repeats-the-last"),
        pytest.param(1, 3, [[0, 0, 0]], id="one-frame"),
        pytest.param(5, 1, [[2]], id="one-segment"),
    ],
)
def test_segments(num_frames, num_segments, expected):
    assert sampling.segments(num_frames, num_segments) == expected


def test_several_views_split_each_segment_evenly():
    assert sampling.segments(12, 3, num_views=2) == [[1, 5, 9], [3, 7, 11]]
    assert sampling.segments(30, 2, num_views=5) == [[1, 16], [4, 19], [7, 22], [10, 25], [13, 28]]
    assert sampling.segments(2, 3, num_views=2) == [[0, 1, 1], [0, 1, 1]]


def test_random_segments_draw_inside_their_segment_and_all_of_it():
    generator = np.random.default_rng(3)
    draws = np.array([sampling.random_segments(12, 3, generator) for _ in range(300)])
    for segment, frames in enumerate(([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])):
        assert sorted(set(draws[:, segment])) == frames
    same = sampling.random_segments(100, 7, np.random.default_rng(5))
    assert same == sampling.random_segments(100, 7, np.random.default_rng(5))
    assert same != sampling.random_segments(100, 7, np.random.default_rng(6))
    assert sampling.random_segments(3, 5, generator) == [0, 1, 2, 2, 2]


def test_four_frames_of_three_segments_are_kinetics_twelve():
    generator = np.random.default_rng(0)
    for _ in range(50):
        frames = sampling.random_segments(250, 3, generator, per_segment=4)
        assert len(frames) == 12
        assert frames == sorted(set(frames))
        assert [sum(a <= frame < b for frame in frames) for a, b in ((0, 83), (83, 166), (166, 250))] == [4, 4, 4]
    assert sampling.random_segments(12, 3, generator, per_segment=4) == list(range(12))


@pytest.mark.parametrize(
    ("num_frames", "num_wanted", "expected"),
    [
        pytest.param(11, 3, [2, 5, 8], id="eq-14"),
        pytest.param(17, 17, list(range(17)), id="T-17-exactly"),
        pytest.param(34, 17, list(range(1, 34, 2)), id="T-17-every-second"),
        pytest.param(20, 24, [*range(20), 19, 19, 19, 19], id="T-24-repeats-the-last"),
    ],
)
def test_strided(num_frames, num_wanted, expected):
    assert sampling.strided(num_frames, num_wanted) == expected


def test_random_strided_draws_every_stride_that_fits():
    generator = np.random.default_rng(1)
    strides = set()
    for _ in range(300):
        frames = sampling.random_strided(100, 17, generator)
        gaps = set(np.diff(frames).tolist())
        assert len(gaps) == 1
        assert frames[0] >= 0
        assert frames[-1] <= 99
        strides |= gaps
    assert strides == {2, 3, 4, 5, 6}  # 16 gaps of 6 span 96 frames, of 7 they do not fit
    assert sampling.random_strided(16, 17, generator) == sampling.strided(16, 17)
    # not even stride 2 fits: a start is drawn, and all of them are
    drawn = {tuple(sampling.random_strided(32, 17, generator)) for _ in range(300)}
    assert drawn == {tuple(range(start, start + 17)) for start in range(16)}
    assert np.diff(sampling.random_strided(33, 17, generator)).tolist() == [2] * 16


def test_clips():
    assert sampling.clips(11, length=4, stride=3) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert sampling.clips(3, length=5, stride=2) == [[0, 1, 2, 2, 2]]
    assert sampling.clips(30) == [list(range(30))]
    assert [clip[0] for clip in sampling.clips(75)] == [0, 15, 30, 45]


def test_a_long_video_keeps_twenty_clips_over_all_of_it():
    starts = [clip[0] for clip in sampling.clips(30 + 15 * 39)]  # 40 clips fit
    assert starts == [15 * index for index in range(1, 40, 2)]
    assert len(sampling.clips(100_000)) == 20


@pytest.mark.parametrize(
    ("frame", "num_pairs", "num_frames", "expected"),
    [
        pytest.param(5, 4, 20, [3, 4, 5, 6], id="centred"),
        pytest.param(5, 5, 20, [3, 4, 5, 6, 7], id="odd"),
        pytest.param(0, 4, 20, [0, 1, 2, 3], id="moved-in-at-the-start"),
        pytest.param(19, 4, 20, [15, 16, 17, 18], id="moved-in-at-the-end"),
        pytest.param(1, 5, 4, [0, 1, 2, 2, 2], id="too-short-repeats-the-last-pair"),
        pytest.param(0, 3, 1, [0, 0, 0], id="one-frame"),
    ],
)
def test_centred_pairs(frame, num_pairs, num_frames, expected):
    assert sampling.centred_pairs(frame, num_pairs, num_frames) == expected


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_every_plan_stays_inside_the_video_and_has_its_length(num_frames, wanted, views, seed):
    generator = np.random.default_rng(seed)
    fixed = [*sampling.segments(num_frames, wanted, num_views=views), sampling.strided(num_frames, wanted)]
    drawn = [
        sampling.random_segments(num_frames, wanted, generator),
        sampling.random_strided(num_frames, wanted, generator),
    ]
    clips = sampling.clips(num_frames, length=wanted, stride=views)
    for view in [*fixed, *drawn, *clips]:
        assert len(view) == wanted
        assert view == sorted(view)
        assert view[0] >= 0
        assert view[-1] < num_frames
    for frame in fixed[0]:
        pairs = sampling.centred_pairs(frame, wanted, num_frames)
        assert len(pairs) == wanted
        assert pairs[0] >= 0
        assert pairs[-1] <= max(0, num_frames - 2)


@pytest.mark.parametrize(
    ("values", "num_frames", "shape"),
    [
        ({}, 100, (1, 7)),
        ({"segments": 3, "per_segment": 4}, 100, (1, 12)),
        ({"views": 5}, 100, (5, 7)),
        ({"view": "random", "views": 4}, 100, (4, 7)),
        ({"plan": "strided"}, 100, (1, 17)),
        ({"plan": "strided", "segments": 24}, 20, (1, 24)),
        ({"plan": "clips"}, 20, (1, 30)),
        ({"plan": "clips"}, 75, (4, 30)),
    ],
)
def test_shapes_of_plans(values, num_frames, shape):
    plan = Sampling(**values)
    assert plan.sample(num_frames, key="a").shape == shape
    assert plan.num_steps == shape[1]


def test_random_views_depend_on_the_seed_and_the_video_alone():
    plan = Sampling(view="random", views=5)
    views = plan.sample(90, key="brush_hair/clip1")
    np.testing.assert_array_equal(views, plan.sample(90, key="brush_hair/clip1"))
    assert (views != plan.sample(90, key="brush_hair/clip2")).any()
    assert (views != Sampling(view="random", views=5, seed=1).sample(90, key="brush_hair/clip1")).any()
    assert len({tuple(view) for view in views}) == 5


def test_shared_frames_and_pairs_are_needed_once():
    steps = Steps.of(np.array([[2, 4], [4, 9]]), 10)
    assert steps.frames.tolist() == [2, 4, 9]
    assert steps.views.tolist() == [[0, 1], [1, 2]]
    pairs = steps.pairs(4)
    assert pairs.firsts.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # 0-3 around 2, 2-5 around 4, 5-8 moved in from 9
    assert pairs.stacks.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [5, 6, 7, 8]]
    assert pairs.frames.tolist() == list(range(10))
    assert pairs.frames[pairs.ends].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_one_frame_is_paired_with_itself():
    pairs = Steps.of(np.array([[0, 0]]), 1).pairs(3)
    assert (pairs.firsts.tolist(), pairs.stacks.tolist(), pairs.ends.tolist()) == ([0], [[0, 0, 0]], [[0], [0]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"plan": "sometimes"}, r"plan=sometimes is not possible; plan takes segments\|strided\|clips"),
        ({"view": "wide"}, r"view=wide is not possible; view takes fixed\|random"),
        ({"segments": -1}, "segments=-1 is not possible; segments takes int ≥ 0"),
        ({"per_segment": 0}, "per_segment=0 is not possible; per_segment takes int ≥ 1"),
        ({"plan": "strided", "views": 3}, "need --view random"),
        ({"plan": "clips", "view": "random"}, "no random view"),
    ],
)
def test_settings_that_make_no_sense(values, message):
    with pytest.raises(UsageError, match=message):
        Sampling(**values)
