"""The programs over cuts against HiGHS; the bound, which holds however roughly they are solved."""

import numpy as np
import pytest

from avr.fusion.programs.interior import CutProgram


def made_program(seed, *, cuts=40, parts=5, unknowns=6, others=3):
    """A program with a box of which the point in the middle keeps the rows without slack."""
    random = np.random.default_rng(seed)
    rows, high = random.normal(size=(cuts + others, unknowns)), random.uniform(0.5, 2, unknowns)
    rows[:cuts, -1] = random.uniform(0, 1, cuts)
    limits = rows @ (high / 2) + random.uniform(0.1, 1, cuts + others)
    limits[:cuts] -= 1.5
    part = np.sort(np.concatenate([np.arange(parts), random.integers(0, parts, cuts - parts)]))
    return CutProgram(rows, limits, part, 3.0, np.zeros(unknowns), high)


def by_highs(program):
    """Its optimum by `scipy.optimize.linprog`."""
    from scipy.optimize import linprog

    own = np.zeros((len(program.limits), len(program.first)))
    own[np.arange(program.count), program.slack_of] = -1
    cost = np.concatenate([np.zeros(len(program.low) - 1), [-1], np.full(len(program.first), program.price)])
    bounds = [*zip(program.low, program.high, strict=True), *[(0, None)] * len(program.first)]
    return linprog(cost, A_ub=np.concatenate([program.rows, own], axis=1), b_ub=program.limits, bounds=bounds).fun


def value(program, x):
    return program.price * program.excess(x)[1].sum() - x[-1]


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_highss(seed, others):
    program = made_program(seed, others=others)
    x, duals, bound = program.solve(program.high / 2, lambda value, bound: value - bound < 1e-8)
    expected = by_highs(program)
    assert bound - 1e-12 <= expected <= value(program, x) + 1e-12
    assert value(program, x) - bound < 1e-8
    assert (duals > 0).all()
    assert (program.low < x).all()
    assert (x < program.high).all()
    assert (program.excess(x)[0][program.count :] < 0).all()


@pytest.mark.parametrize("gap", [1.0, 0.1, 1e-3])
def test_it_is_solved_no_further_than_asked_and_the_bound_holds(gap):
    program = made_program(7)
    said = []

    def enough(value, bound):
        said.append((value, bound))
        return value - bound < gap

    program.solve(program.high / 2, enough)
    assert [high - low < gap for high, low in said] == [False] * (len(said) - 1) + [True]
    assert all(low <= by_highs(program) <= high for high, low in said)


def test_any_duals_give_a_bound():
    program, random = made_program(3), np.random.default_rng(0)
    bounds = [program.bound(random.uniform(0, 1, len(program.limits)) * size) for size in (0, 0.1, 1, 100)]
    assert max(bounds) <= by_highs(program)


def test_without_a_free_direction_it_stops_where_float64_does():
    # All rows alike, and a limit that only ξ can keep.
    program = CutProgram(np.ones((4, 2)), np.full(4, -3.0), np.array([0, 0, 1, 1]), 2.0, np.zeros(2), np.ones(2))
    x, _, bound = program.solve(np.full(2, 0.5), lambda value, bound: False)
    # ξ ≥ 3 + x, each of two at a price of 2, and -x: the less x the better.
    assert x == pytest.approx([0, 0], abs=1e-6)
    assert bound == pytest.approx(12, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_matrix_that_float64_takes_for_singular_ends_it():
    # Rows all alike, and ends of the box too far away to tell the unknowns apart.
    far = np.full(2, 1e20)
    program = CutProgram(np.ones((4, 2)), np.zeros(4), np.array([0, 0, 1, 1]), 2.0, -far, far)
    x, duals, bound = program.solve(np.zeros(2), lambda value, bound: False)
    assert bound <= value(program, x)
    assert program.bound(duals) == bound
