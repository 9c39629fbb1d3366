"""A real Chromium over its own debugging pipe: just enough to load a page, run scripts in it and look at it."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 600  # seconds; a busy machine is slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """The program's path: $AVR_CHROMIUM, or the first that is installed; None without, and on Windows."""
    if sys.platform == "win32":  # whose processes inherit no numbered pipes
        return None
    return os.environ.get("AVR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. `events` are what it told, such as console messages and requests, since it was last emptied."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._held, self._number = read, write, b"", 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol; gives its result."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": parameters}
        told |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            assert select.select([self._read], [], [], PATIENCE)[0], f"Chromium has been silent for {PATIENCE} s"
            found = os.read(self._read, 1 << 20)
            assert found, "Chromium has ended"
            self._held += found
        line, _, self._held = self._held.partition(b"\0")
        answer = json.loads(line)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, page: Path, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Load a file at a window's size, in the user's colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait(lambda event: event["method"] == "Page.loadEventFired")

    def wait(self, is_it: Callable[[dict[str, Any]], bool]) -> None:
        """Until something was told that is it."""
        while not any(map(is_it, self.events)):
            self._next()

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen, as PNG."""
        content = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(content))


@contextmanager
def chromium(program: str, folder: Path) -> Iterator[Browser]:
    """A headless Chromium with a profile in a folder, ended with the block."""
    to_it, write = os.pipe()
    read, from_it = os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"]
    flags += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]

    def pipes() -> None:  # in the child: Chromium reads 3 and writes 4
        first, second = os.dup(to_it), os.dup(from_it)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        [program, *flags, f"--user-data-dir={folder}"],
        preexec_fn=pipes,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Browser(read, write)
    finally:
        process.terminate()
        process.wait(20)
        os.close(read)
        os.close(write)
