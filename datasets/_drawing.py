"""What the clips of `shapes` look like: a textured disc that moves before a still background, frame by frame.

Brightness and colour are drawn apart, in YCrCb. The brightness of disc and background is the same kind of smoothed
noise for every class, and the appearance is a pattern in colour alone, of constant brightness: optical flow, which is
computed on grey frames, cannot see it. The motion is a swing to and fro about a random pose (place, angle, size) from a
random phase: a still frame shows one pose of many and cannot tell which motion it was taken from.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

MOTIONS = ("sideways", "upright", "turning", "pulsing")
SIZE = 96  # pixels, width and height
NUM_FRAMES = 32
CANVAS = 160  # side of the disc's texture before it is turned and scaled
RADIUS = 27.0  # pixels
PERIOD = 14.0  # pixels of a pattern
CHROMA = 34.0  # standard deviation of a pattern in the CrCb plane, grey levels
HUES = {"stripes": 0.3, "checks": 2.3, "rings": 1.35, "dots": 2.3}  # radians in the CrCb plane
HUE_SPREAD = 0.2  # radians, standard deviation within an appearance
TINT = 2.5  # standard deviation of a clip's colour cast on the disc, grey levels
NOISE = 20.0  # brightness, standard deviation, grey levels
SWINGS = {"sideways": 6.0, "upright": 6.0, "turning": 0.4, "pulsing": 0.22}  # pixels, pixels, radians, log scale


def draw_clip(appearance: str, motion: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one clip: frames `(NUM_FRAMES, SIZE, SIZE, 3)` uint8, BGR.

    All that is random in it comes from `rng`: noise, hue, pose, phase, speed.
    """
    texture = _texture(appearance, rng)
    background = np.full((SIZE, SIZE, 3), 128.0, dtype=np.float32)
    background[..., 0] += _noise(SIZE, rng)
    frames = np.empty((NUM_FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    for time, (x, y, angle, log_scale) in enumerate(_poses(motion, rng).tolist()):
        scale = float(np.exp(log_scale))
        matrix = _matrix(x, y, angle, scale)
        disc = cv2.warpAffine(texture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        alpha = _disc_mask(x, y, scale)[..., None]
        picture = alpha * disc + (1 - alpha) * background
        frames[time] = cv2.cvtColor(np.clip(picture, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2BGR)
    return frames


def _noise(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smoothed noise `(size, size)`, fine enough for flow to hold on to."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), 1.6)
    clipped: NDArray[np.float32] = np.clip(noise / noise.std() * NOISE, -2 * NOISE, 2 * NOISE)
    return clipped


def _texture(appearance: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """The disc's texture `(CANVAS, CANVAS, 3)`, Y Cr Cb: noise in Y, the pattern in Cr and Cb."""
    y, x = np.mgrid[:CANVAS, :CANVAS].astype(np.float32) - CANVAS / 2
    x += rng.uniform(0, PERIOD)
    y += rng.uniform(0, PERIOD)
    wave_x, wave_y = np.cos(2 * np.pi * x / PERIOD), np.cos(2 * np.pi * y / PERIOD)
    radius = np.cos(2 * np.pi * np.hypot(x, y) / PERIOD)
    pattern = {
        "stripes": wave_x,
        "checks": 1.6 * wave_x * wave_y,
        "rings": radius,
        "dots": wave_x + wave_y - 0.9,
    }[appearance]
    pattern = np.tanh(2.5 * pattern)
    # No mean colour, and equally strong: what tells them apart is how the colours lie.
    pattern = (pattern - pattern.mean()) / pattern.std()
    hue = HUES[appearance] + rng.normal(0, HUE_SPREAD)
    tint = rng.normal(0, TINT, 2)
    picture = np.full((CANVAS, CANVAS, 3), 128.0, dtype=np.float32)
    picture[..., 0] += _noise(CANVAS, rng)
    picture[..., 1] += CHROMA * np.cos(hue) * pattern + tint[0]
    picture[..., 2] += CHROMA * np.sin(hue) * pattern + tint[1]
    return picture


def _poses(motion: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """The disc's pose in each frame `(NUM_FRAMES, 4)`: centre x, centre y (pixels), angle (radians), log of the scale.

    Each of the four stands somewhere in its swing, and one of them goes on swinging: so a single frame's pose has the
    same distribution for every motion.
    """
    base = np.array([SIZE / 2, SIZE / 2, np.pi, 0.0]) + rng.uniform(-1, 1, 4) * [5, 5, np.pi, 0.1]
    strength, phase = rng.uniform(0.8, 1.2, 4), rng.uniform(0, 2 * np.pi, 4)
    phases = np.tile(phase, (NUM_FRAMES, 1))
    phases[:, MOTIONS.index(motion)] += 2 * np.pi * np.arange(NUM_FRAMES) / rng.uniform(18, 30)
    poses: NDArray[np.float64] = base + strength * np.array([SWINGS[name] for name in MOTIONS]) * np.sin(phases)
    return poses


def _matrix(x: float, y: float, angle: float, scale: float) -> NDArray[np.float32]:
    """Affine map `(2, 3)` from the texture to the frame."""
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    middle = CANVAS / 2
    return np.array(
        [
            [cosine, -sine, x - cosine * middle + sine * middle],
            [sine, cosine, y - sine * middle - cosine * middle],
        ],
        dtype=np.float32,
    )


def _disc_mask(x: float, y: float, scale: float) -> NDArray[np.float32]:
    """How much of each pixel the disc covers `(SIZE, SIZE)`, with a soft edge."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    distance = np.hypot(columns - np.float32(x), rows - np.float32(y))
    mask: NDArray[np.float32] = np.clip(RADIUS * scale - distance + 0.5, 0, 1).astype(np.float32)
    return mask
