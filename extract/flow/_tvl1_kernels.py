# mypy: ignore-errors
# ruff: noqa: PLR0913, RUF005  (the kernels' language is a part of Python, without types or unpacking)
"""TV-L1's three inner steps as fused Triton kernels; `_tvl1_fused.py` launches them.

An iteration is one kernel: it reads the flow (2 floats a pixel), the dual variables (4) and the linearised frame (3),
and writes the flow and the dual variables into a second buffer (6): 60 bytes a pixel, which is what it takes time for.
The new flow of the right and lower neighbour, which the dual step needs, is computed again rather than read back.

Each pair stops by itself, without the host looking on: every block of an iteration leaves its share of the summed
squared change, and the next iteration's blocks add their pair's shares up, in a fixed order, and return at once where
the pair has converged. The host looks every few iterations and drops those pairs from the launch.
"""

import triton
import triton.language as tl


def _exchanges() -> tuple[int, ...]:
    """Pairs (lower, upper) to order, one after the other, so that the 13th smallest of 25 lands in place 12.

    Batcher's odd-even merge sort of 32 without its seven highest places, then without what cannot reach place 12.
    """
    network = []
    p = 1
    while p < 32:
        k = p
        while k:
            for j in range(k % p, 32 - k, 2 * k):
                for i in range(min(k, 32 - j - k)):
                    if (i + j) // (p * 2) == (i + j + k) // (p * 2) and i + j + k < 25:
                        network.append((i + j, i + j + k))
            k //= 2
        p *= 2
    wanted, kept = {12}, []
    for low, high in reversed(network):
        if wanted & {low, high}:
            wanted |= {low, high}
            kept.append((low, high))
    return tuple(place for pair in reversed(kept) for place in pair)


EXCHANGES = _exchanges()


@triton.jit
def _exchange(values, low: tl.constexpr, high: tl.constexpr):
    smaller = tl.minimum(values[low], values[high])
    larger = tl.maximum(values[low], values[high])
    return values[:low] + (smaller,) + values[low + 1 : high] + (larger,) + values[high + 1 :]


@triton.jit
def _median(source, target, active, height, width, plane, EXCHANGES: tl.constexpr, BLOCK: tl.constexpr):
    """5 × 5 median of both flow planes of one pair, from `source` to `target`; the border pixel is repeated."""
    pair = tl.load(active + tl.program_id(1)).to(tl.int64)
    component = tl.program_id(2)
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < height * width
    y = offset // width
    x = offset - y * width
    start = (pair * 6 + component) * plane
    values = ()
    for window in tl.static_range(25):
        row = tl.minimum(tl.maximum(y + (window // 5 - 2), 0), height - 1)
        column = tl.minimum(tl.maximum(x + (window % 5 - 2), 0), width - 1)
        values = values + (tl.load(source + start + row * width + column, mask=inside, other=0.0),)
    for step in tl.static_range(len(EXCHANGES) // 2):
        values = _exchange(values, EXCHANGES[2 * step], EXCHANGES[2 * step + 1])
    tl.store(target + start + offset, values[12], mask=inside)


@triton.jit
def _cubic(t, tap: tl.constexpr):
    """Weight of tap 0 … 3 of the bicubic kernel with a = -0.75 at the fraction t."""
    if tap == 0:
        return ((-0.75 * (t + 1) + 3.75) * (t + 1) - 6.0) * (t + 1) + 3.0
    elif tap == 1:
        return (1.25 * t - 2.25) * t * t + 1.0
    elif tap == 2:
        return (1.25 * (1 - t) - 2.25) * (1 - t) * (1 - t) + 1.0
    else:
        return ((-0.75 * (2 - t) + 3.75) * (2 - t) - 6.0) * (2 - t) + 3.0


@triton.jit
def _warp(first, texture, state, linear, height, width, plane, BLOCK: tl.constexpr):
    """Linearise: bicubic samples of the second frame and its slopes at x + flow; taps outside the frame are 0."""
    pair = tl.program_id(1).to(tl.int64)
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < height * width
    y = offset // width
    x = offset - y * width
    u = tl.load(state + pair * 6 * plane + offset, mask=inside, other=0.0)
    v = tl.load(state + pair * 6 * plane + plane + offset, mask=inside, other=0.0)
    # Far outside is as good as just outside, and stays within an integer.
    column = tl.minimum(tl.maximum(x + u, -4.0), width + 4.0)
    row = tl.minimum(tl.maximum(y + v, -4.0), height + 4.0)
    left = tl.floor(column)
    top = tl.floor(row)
    image = tl.full([BLOCK], 0.0, tl.float32)
    along_x = tl.full([BLOCK], 0.0, tl.float32)
    along_y = tl.full([BLOCK], 0.0, tl.float32)
    frame = texture + pair * 3 * plane
    for j in tl.static_range(4):
        tap_y = top.to(tl.int32) + (j - 1)
        weight_y = _cubic(row - top, j)
        for i in tl.static_range(4):
            tap_x = left.to(tl.int32) + (i - 1)
            there = inside & (tap_x >= 0) & (tap_x < width) & (tap_y >= 0) & (tap_y < height)
            weight = weight_y * _cubic(column - left, i)
            place = frame + tap_y * width + tap_x
            image += weight * tl.load(place, mask=there, other=0.0)
            along_x += weight * tl.load(place + plane, mask=there, other=0.0)
            along_y += weight * tl.load(place + 2 * plane, mask=there, other=0.0)
    before = tl.load(first + pair * plane + offset, mask=inside, other=0.0)
    target = linear + pair * 3 * plane + offset
    tl.store(target, along_x, mask=inside)
    tl.store(target + plane, along_y, mask=inside)
    tl.store(target + 2 * plane, image - along_x * u - along_y * v - before, mask=inside)


@triton.jit
def _add(one, other):
    return one + other


@triton.jit
def _total(values):
    return tl.reduce(values, 0, _add)  # tl.sum, but for the interpreter, which cannot take over what Triton jitted


@triton.jit
def _new_flow(state, linear, offset, x, y, inside, width, plane, reach, theta):
    """The flow of one pixel after an iteration's first half, (u, v), and how far it moved, (du, dv)."""
    u = tl.load(state + offset, mask=inside, other=0.0)
    v = tl.load(state + plane + offset, mask=inside, other=0.0)
    along_x = tl.load(linear + offset, mask=inside, other=0.0)
    along_y = tl.load(linear + plane + offset, mask=inside, other=0.0)
    constant = tl.load(linear + 2 * plane + offset, mask=inside, other=0.0)
    squared = tl.maximum(along_x * along_x + along_y * along_y, 1.1920929e-07)
    residual = -(along_x * u + along_y * v + constant) / squared
    residual = tl.minimum(tl.maximum(residual, -reach), reach)
    dual = state + 2 * plane + offset
    has_left = inside & (x > 0)
    has_top = inside & (y > 0)
    along = tl.load(dual, mask=inside, other=0.0) - tl.load(dual - 1, mask=has_left, other=0.0)
    down = tl.load(dual + plane, mask=inside, other=0.0) - tl.load(dual + plane - width, mask=has_top, other=0.0)
    du = residual * along_x + theta * (along + down)
    dual += 2 * plane
    along = tl.load(dual, mask=inside, other=0.0) - tl.load(dual - 1, mask=has_left, other=0.0)
    down = tl.load(dual + plane, mask=inside, other=0.0) - tl.load(dual + plane - width, mask=has_top, other=0.0)
    dv = residual * along_y + theta * (along + down)
    return u + du, v + dv, du, dv


@triton.jit
def _store_dual(source, target, plane, inside, along, down, dual_step):
    """One component's dual variables after the step along its flow's forward differences."""
    along = along * dual_step
    down = down * dual_step
    scale = 1.0 / (1.0 + tl.sqrt(along * along + down * down))
    tl.store(target, (tl.load(source, mask=inside, other=0.0) + along) * scale, mask=inside)
    tl.store(target + plane, (tl.load(source + plane, mask=inside, other=0.0) + down) * scale, mask=inside)


@triton.jit(do_not_specialize=["row"])
def _iterate(
    source, target, linear, shares, active, row, pairs, height, width, plane, blocks,
    limit, reach, theta, dual_step, BLOCKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One iteration of one pair's block, from `source` to `target` (B, 6, plane): u, v, then the dual variables.

    `shares` (iterations + 2, B, blocks) holds each block's summed squared change; this iteration writes row `row`.
    """
    pair = tl.load(active + tl.program_id(1)).to(tl.int64)
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < height * width
    block = tl.arange(0, BLOCKS)
    share = shares + pair * blocks + block
    last = _total(tl.load(share + (row - 1).to(tl.int64) * pairs * blocks, mask=block < blocks, other=0.0))
    source += pair * 6 * plane
    target += pair * 6 * plane
    if last <= limit:
        # Converged. The one iteration after it copies, so that both buffers hold the result; later ones do nothing.
        earlier = _total(tl.load(share + (row - 2).to(tl.int64) * pairs * blocks, mask=block < blocks, other=0.0))
        if earlier > limit:
            for part in tl.static_range(6):
                value = tl.load(source + part * plane + offset, mask=inside)
                tl.store(target + part * plane + offset, value, mask=inside)
    else:
        linear += pair * 3 * plane
        y = offset // width
        x = offset - y * width
        has_right = inside & (x < width - 1)
        has_below = inside & (y < height - 1)
        u, v, du, dv = _new_flow(source, linear, offset, x, y, inside, width, plane, reach, theta)
        change = _total(tl.where(inside, du * du + dv * dv, 0.0))
        here = row.to(tl.int64) * pairs * blocks + pair * blocks + tl.program_id(0)
        tl.store(shares + here, change)
        tl.store(target + offset, u, mask=inside)
        tl.store(target + plane + offset, v, mask=inside)
        right_u, right_v, _, _ = _new_flow(
            source, linear, offset + 1, x + 1, y, has_right, width, plane, reach, theta
        )  # fmt: skip
        below_u, below_v, _, _ = _new_flow(
            source, linear, offset + width, x, y + 1, has_below, width, plane, reach, theta
        )  # fmt: skip
        along_u = tl.where(has_right, right_u - u, 0.0)
        along_v = tl.where(has_right, right_v - v, 0.0)
        down_u = tl.where(has_below, below_u - u, 0.0)
        down_v = tl.where(has_below, below_v - v, 0.0)
        dual = 2 * plane + offset
        _store_dual(source + dual, target + dual, plane, inside, along_u, down_u, dual_step)
        dual += 2 * plane
        _store_dual(source + dual, target + dual, plane, inside, along_v, down_v, dual_step)
