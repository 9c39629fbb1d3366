"""Takes docs/pictures/report.png, parts of a report: `avr demo; python docs/pictures/report.py` (needs Chromium)."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from avr.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RUNS = Path("demo/runs")
SIZE = (1280, 1500)  # of the window, in pixels
# What else the page holds is left out, in a copy without the policy that lets nobody add a style.
POLICY = re.compile(r"<meta http-equiv=.Content-Security-Policy[^>]*>")
STYLE = "<style>section:not(#verdict, #accuracy, #calibration) { display: none !important }</style>"


def main() -> None:
    """Write the page of the demo's runs, look at it and keep the picture, of few colours."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as place:
        page, seen = Path(place) / "report.html", Path(place) / "seen.png"
        write_report([RUNS / name for name in ("fuse-awf-1", "stfn-1", "linear-1")], page)
        text = POLICY.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{STYLE}</head>"), encoding="utf-8")
        window = f"--window-size={SIZE[0]},{SIZE[1]}"
        told = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", window, f"--screenshot={seen}"]
        subprocess.run([*told, page.as_uri()], check=True, capture_output=True)
        picture = Image.open(seen).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        picture.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
