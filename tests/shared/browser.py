"""A real browser for tests: Chromium without a window, driven by its DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE = 60  # seconds to end
_OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # small in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


def find():
    """Return the path of a browser, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def opened(profile):
    """Start a browser for the block, with a folder for its files, and yield an empty page."""
    to_read, to_us = os.pipe()
    from_us, to_write = os.pipe()
    # It reads commands from descriptor 3, and writes to 4; only a shell puts them there.
    shell = ["bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "bash"]
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [*shell, find(), *_OPTIONS, *root, f"--user-data-dir={profile}", "about:blank"]
    with (Path(profile).parent / "browser.log").open("w") as log:
        process = subprocess.Popen(command, pass_fds=(from_us, to_us), stdout=log, stderr=log)
    os.close(from_us)
    os.close(to_us)
    with os.fdopen(to_read, "rb") as answers, os.fdopen(to_write, "wb", buffering=0) as commands:
        try:
            yield Page(answers, commands)
        finally:
            with contextlib.suppress(OSError):
                commands.write(b'{"id": 0, "method": "Browser.close"}\0')
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Page:
    """A page of a browser.

    Attributes:
        requests: the addresses that it has asked for.
        complaints: what its console says, errors and warnings.
    """

    def __init__(self, answers, commands):
        self._answers, self._commands = answers, commands
        self._numbers = itertools.count(1)
        self._session = None
        self._left = b""
        self._events = []
        self.requests, self.complaints = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, path, *, width, height, dark=False, media="screen"):
        """Open a file in a window of a size, on a telephone where that is narrow."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        phone = {"deviceScaleFactor": 2, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        self._events.clear()
        self.call("Page.navigate", url=Path(path).absolute().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()

    def evaluate(self, expression):
        """Return the value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path):
        """Write a picture of the whole page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(picture["data"]))

    def pdf(self):
        """Return the page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def _next(self):
        """Read a message, and keep what it says of requests and complaints."""
        while b"\0" not in self._left:
            read = self._answers.read1(1 << 16)
            assert read, "the browser has ended: see browser.log beside its profile"
            self._left += read
        text, _, self._left = self._left.partition(b"\0")
        message = json.loads(text)
        method, parameters = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(parameters["entry"]["text"])
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.complaints.append(json.dumps(parameters))
        return message
