"""A real browser without a window, by the Chrome DevTools Protocol over a pipe: no driver and no package is needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell", "chrome")
VARIABLE = "NECA_BROWSER"  # path of a browser of this kind


def find_browser() -> str | None:
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A tab of a browser: commands, and the events that they were answered with."""

    def __init__(self, to_browser: int, from_browser: int):
        self.ends, self.received, self.number, self.session = (to_browser, from_browser), b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)  # workers

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        number = self._write(method, self.session, params)
        while True:
            answer = self._receive(method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _write(self, method: str, session: str | None, params: dict[str, Any]) -> int:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.ends[0], json.dumps(message).encode() + b"\0")
        return self.number

    def _receive(self, awaited: str) -> dict[str, Any]:
        while b"\0" not in self.received:
            if not select([self.ends[1]], [], [], 60)[0]:
                raise TimeoutError(f"no answer to {awaited}")
            piece = os.read(self.ends[1], 1 << 20)
            if not piece:
                raise RuntimeError(f"the browser has ended, no answer to {awaited}")
            self.received += piece
        message, self.received = self.received.split(b"\0", 1)
        answer = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
            if answer["method"] == "Target.attachedToTarget":  # a worker; nobody waits for these answers
                for domain in ("Network", "Runtime"):
                    self._write(f"{domain}.enable", answer["params"]["sessionId"], {})
        return answer

    def run(self, script: str) -> Any:
        """Run JavaScript in the page -> its value."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"waited in vain for {condition}"
            time.sleep(0.03)

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url[:8])})")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input, as a visitor does in the dialog."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str, code: int = 0) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def of(self, method: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [event["params"] for event in self.events if event["method"] == method]

    def requests(self) -> list[str]:
        """The addresses that were asked for, but what the page holds itself."""
        urls = [event["request"]["url"] for event in self.of("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Exceptions and what the console has logged."""
        found = [str(event["exceptionDetails"]) for event in self.of("Runtime.exceptionThrown")]
        found += [str(event["args"]) for event in self.of("Runtime.consoleAPICalled")]
        return found + [f"{event['entry']['text']} {event['entry'].get('url')}" for event in self.of("Log.entryAdded")]


@contextmanager
def open_browser(path: str, profile: Path) -> Iterator[Tab]:
    """Start a browser with a new profile, and end it."""
    (theirs_in, to_browser), (from_browser, theirs_out) = os.pipe(), os.pipe()
    words = [
        "--headless=new",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-gpu",
    ]
    words += ["--disable-background-networking", "--disable-dev-shm-usage", "--window-size=1280,900"]
    if os.getuid() == 0:
        words.append("--no-sandbox")  # which Chromium demands of root

    # The protocol is spoken over the descriptors 3 and 4, which the shell arranges.
    shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "browser", path, *words],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Tab(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
