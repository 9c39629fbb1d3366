"""The page in a real Chromium: quiet, alone, sorted, filtered, dark, narrow, and by axe-core's rules."""

import os
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from avr.datasets import Dataset, Video
from avr.report import write_report
from avr.store import Scores, StoreWriter, write_scores

from .browser import Browser, chromium, find_chromium

AXE = "4.10.3"
CLASSES = 30


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Two streams of thirty classes, a head's own prediction, weights by class, a log with validation, videos."""
    folder = tmp_path_factory.mktemp("page")
    clip = folder / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for shade in range(8):
        writer.write(np.full((240, 320, 3), 30 * shade, np.uint8))
    writer.release()
    labels = np.arange(150) % CLASSES
    generator = np.random.default_rng(0)
    streams = {name: generator.normal(size=(150, CLASSES)) + 2 * np.eye(CLASSES)[labels] for name in ("rgb", "flow")}
    streams["fused"] = streams["rgb"] + streams["flow"]
    scores = Scores(
        ids=np.array([f"class {k}/a_rather_long_name_of_a_video_without_any_blank_{n}" for n, k in enumerate(labels)]),
        labels=labels,
        groups=np.array([f"g{n // 10}" for n in range(150)]),
        class_names=tuple(f"class {k}" for k in range(CLASSES)),
        streams={name: values.astype(np.float32) for name, values in streams.items()},
        kind="logits",
        split="1",
        fold=np.full(150, -1, np.int32),
        head="some",
        dataset="toy",
        provenance={"streams": ["rgb", "flow"], "weights": generator.random((CLASSES, 2)).tolist()},
        fused="fused",
    )
    videos = [
        Video(name, clip, k, group) for name, k, group in zip(scores.ids, labels.tolist(), scores.groups, strict=True)
    ]
    dataset = Dataset("toy", folder, scores.class_names, tuple(videos), {})
    with StoreWriter(folder / "store", dataset, arrays={"rgb/pooled": (1, 1)}, provenance={"settings": {}}) as store:
        for shard in store.shards():
            for name in shard.video_ids:
                shard.add(name, {"rgb/pooled": np.zeros((1, 1, 1))}, frames=8)
    scores.provenance["store"] = {"path": str(folder / "store")}
    for run in ("one", "two"):
        write_scores(folder / run / "split-1" / "scores.h5", scores)
        log = "epoch,loss,accuracy,validation_loss\n1,1.5,0.25,1.6\n2,0.5,0.75,1.2\n"
        (folder / run / "split-1" / "log.csv").write_text(log)
    return write_report([folder / "one", folder / "two"], folder / "page.html").out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: install it (Debian: chromium), or name it in AVR_CHROMIUM")
    with chromium(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script, of npm's cache of this user or fetched once; half a megabyte, so not kept here."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avr-tests" / f"axe-core-{AXE}.tgz"
    if not kept.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm, which fetches axe-core")
        kept.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "pack", f"axe-core@{AXE}"], cwd=kept.parent, capture_output=True, timeout=120)
        if done.returncode:
            pytest.skip(f"npm cannot fetch axe-core {AXE}: {done.stderr.decode()[-200:]}")
    with tarfile.open(kept) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def complaints(tab: Browser) -> list:
    """Of all that the page told: errors and console messages, and requests but for itself and what is in it."""
    loud = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    found = [event for event in tab.events if event["method"] in loud]
    urls = [event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"]
    return found + [url for url in urls[1:] if not url.startswith("data:")]


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (360, True)])
def test_page_is_quiet_alone_and_fits(page, browser, width, dark):
    """Its pictures are shown, the policy lets them: those of the sheets as they are, or as wide as the page."""
    browser.open(page, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    shown = "[...document.images].map(one => [!!one.closest('.sheet'), one.naturalWidth, one.width])"
    found = [(sheet, *sizes) for sheet, *sizes in browser.run(shown)]
    assert Counter(sheet for sheet, *_ in found) == {True: 2 * (6 + 6 + 9), False: 2 * (6 + 6)}
    assert {tuple(sizes) for sheet, *sizes in found if sheet} == {(own, min(own, width - 32)) for own in (160, 440)}
    assert complaints(browser) == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_colours_are_switched(page, browser):
    browser.open(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(f"theme.click(), [{ground}, theme.textContent]") == ["rgb(20, 23, 27)", "Light"]
    assert browser.run(f"theme.click(), [{ground}, theme.textContent]") == ["rgb(255, 255, 255)", "Dark"]


# The smallest contrast of any text with what lies below it, with every heat at its strongest.
CONTRAST = """(() => {
  const light = text => {
    const numbers = text.match(/[\\d.]+/g).slice(0, 3).map(Number), most = text.startsWith("rgb") ? 255 : 1;
    const [r, g, b] = numbers.map(n => n / most).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const clear = colour => colour === "transparent" || /[,/] ?0\\)$/.test(colour);
  const ground = one => { while (clear(getComputedStyle(one).backgroundColor)) one = one.parentElement;
    return getComputedStyle(one).backgroundColor; };
  document.querySelectorAll("td.heat").forEach(cell => cell.style.setProperty("--s", 1));
  const texts = [...document.body.querySelectorAll("*:not(script, title)")].filter(one =>
    [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const found = texts.map(one => {
    const style = getComputedStyle(one), own = one instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(own), light(ground(one))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 100)]; });
  return found.sort((a, b) => a[0] - b[0])[0];
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out(page, browser, dark):
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3), the strongest colours of pictures included."""
    browser.open(page, dark=dark)
    ratio, where = browser.run(CONTRAST)
    assert ratio >= 4.5, where


def test_tables_sort_by_keyboard_and_filter(page, browser):
    browser.open(page)
    browser.run("window.t = document.getElementById('t-accuracy').closest('.table'), 0")
    first = "[t.querySelector('tbody tr').cells[1].textContent, t.querySelectorAll('th[scope=col]')[2].ariaSort]"
    assert browser.run(first) == ["rgb", None]
    browser.run("t.querySelectorAll('thead button')[2].focus()")
    best = "Math.max(...[...t.querySelectorAll('tbody tr')].map(row => +row.cells[2].dataset.v))"
    for direction, which in (("descending", "max"), ("ascending", "min")):
        for kind in ("keyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )
        value = browser.run("+t.querySelector('tbody tr').cells[2].dataset.v")
        assert browser.run(first)[1] == direction
        assert value == browser.run(best.replace("max", which))
    shares = "[...t.querySelectorAll('tbody tr')].map(row => +row.cells[3].textContent)"
    found = browser.run(f"t.querySelectorAll('thead button')[3].click(), {shares}")
    assert found == sorted(found, reverse=True) != found[::-1]
    shown = """(() => {
      const box = document.getElementById("t-classes1").closest(".table"), field = box.querySelector("input");
      field.value = "CLASS 2";
      field.dispatchEvent(new Event("input"));
      return [...box.querySelectorAll("tbody tr")].filter(one => one.offsetHeight).map(one => one.cells[0].textContent);
    })()"""
    assert sorted(browser.run(shown)) == ["class 2", *(f"class 2{n}" for n in range(10))]


def test_a_csv_is_saved_in_spite_of_the_policy(page, browser, tmp_path):
    browser.open(page)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
    browser.run("document.querySelector('#accuracy a.csv').click()")
    browser.wait(lambda event: event["params"].get("state") == "completed")
    (saved,) = tmp_path.glob("*.csv")
    assert saved.name == "Accuracy-of-every-output.csv"
    assert saved.read_text().startswith("run,output,top-1 %,top-1 % low,top-1 % high,")


def test_page_is_accessible(page, browser, axe):
    """No finding of axe-core's rules, serious or not, but for contrast, which is measured above in a hundredth of the
    time."""
    browser.open(page, width=360)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.run(f"{axe};0")
    script = """axe.run({rules: {"color-contrast": {enabled: false}}}).then(result => [result.passes.length,
        result.violations.map(one => [one.impact, one.id, one.nodes[0].html.slice(0, 200)])])"""
    passes, violations = browser.run(script)
    assert violations == []
    assert passes > 20
