"""Draws docs/pictures/pipeline.svg, avr's two stages: `python docs/pictures/pipeline.py`."""

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 330
BOXES = {  # name: left, top, width, height, colour, title, lines
    "videos": (16, 110, 120, 84, "#64748b", "videos", ["files, folders,", "frames; a csv"]),
    "extract": (
        186,
        92,
        190,
        120,
        "#2563eb",
        "extract, once",
        ["frozen encoders over", "rgb, flow, difference,", "clips"],
    ),
    "store": (420, 92, 152, 120, "#0f766e", "store", ["features, stream by", "stream, in HDF5;", "no video after it"]),
    "heads": (616, 40, 160, 96, "#b45309", "heads, in seconds", ["five papers', linear,", "attentive probes"]),
    "fusion": (616, 174, 160, 96, "#b45309", "fusion", ["eleven rules, learnt", "on honest scores"]),
    "report": (812, 40, 134, 96, "#64748b", "report", ["one page: figures,", "curves, videos"]),
    "predict": (812, 174, 134, 96, "#64748b", "predict", ["new videos,", "ONNX"]),
}
ARROWS = [
    ("videos", "extract"),
    ("extract", "store"),
    ("store", "heads"),
    ("heads", "fusion"),
    ("heads", "report"),
    ("fusion", "predict"),
]


def ends(start: str, end: str) -> tuple[float, float, float, float]:
    """Where an arrow leaves a box and where it comes to the other: to the right, or down."""
    x, y, w, h = BOXES[start][:4]
    u, v, s, t = BOXES[end][:4]
    if u >= x + w:
        return x + w, y + h / 2, u - 6, v + t / 2
    return x + w / 2, y + h, u + s / 2, v - 6


def draw() -> str:
    """The picture; readable on light and on dark pages."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>avr: videos are extracted once to a store of features; heads and fusion train on it in seconds</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#f8fafc"/>',
    ]
    for x, y, w, h, colour, title, lines in BOXES.values():
        parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="#fff" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 12}" y="{y + 25}" font-weight="600" fill="{colour}">{escape(title)}</text>')
        parts += [
            f'<text x="{x + 12}" y="{y + 47 + 18 * n}" fill="#334155">{escape(line)}</text>'
            for n, line in enumerate(lines)
        ]
    for start, end in ARROWS:
        x, y, u, v = ends(start, end)
        parts.append(
            f'<path d="M{x} {y}L{u} {v}" stroke="#64748b" stroke-width="2" fill="none" marker-end="url(#tip)"/>'
        )
    parts.append(
        '<path d="M691 300H281V218" stroke="#94a3b8" stroke-width="2" stroke-dasharray="6 5" fill="none" '
        'marker-end="url(#tip)"/><path d="M691 276V300" stroke="#94a3b8" stroke-width="2" stroke-dasharray="6 5"/>'
        '<text x="300" y="319" fill="#475569">finetune (optional): a backbone, or backbone and head</text></svg>'
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("pipeline.svg").write_text(draw())
