"""The page in a real browser, at a phone's width: nothing overflows, nothing is refused, nothing is fetched."""

import contextlib
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.history import HOSTILE, NOW, Made, document, make, night
from worker.queries.report.gather import ReportRequest, gather
from worker.render import html as report_html
from worker.store.engine import Store

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio"),
)
# the report in a frame of a phone's width; the frame around it, not the report, runs this script
PROBE = """<!DOCTYPE html><title>probe</title><body><script>
const frame = document.createElement("iframe");
frame.width = WIDTH; frame.height = 900;
frame.onload = () => {
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(each => { each.open = true; });
  const wide = [...page.querySelectorAll("body *")].filter(each => !each.closest(".scroll") &&
    each.getBoundingClientRect().right > WIDTH + 1).map(each => each.tagName + "." + each.className);
  document.body.insertAdjacentText("beforeend", `WIDE ${page.documentElement.scrollWidth} ${wide.slice(0, 5)} END`);
  const aside = [...page.querySelectorAll(".scroll:has(> .stack)")].filter(each => each.scrollWidth > each.clientWidth);
  document.body.insertAdjacentText("beforeend", `ASIDE ${aside.map(each => each.ariaLabel)} END`);
  document.body.insertAdjacentText("beforeend", `STYLED ${frame.contentWindow.getComputedStyle(page.body).margin} END`);
};
frame.src = "report.html"; document.body.append(frame);
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chrome or google-chrome is installed")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder over HTTP on loopback, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]  # three arguments of socketserver

        def log_message(self, form: str, *args: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def looked_at(html: str, folder: Path, width: int) -> tuple[str, str, list[str]]:
    """What the probe says, what the browser's console says, and what was asked for."""
    assert CHROMIUM is not None
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "probe.html").write_text(PROBE.replace("WIDTH", str(width)), encoding="utf-8")
    with served(folder) as (url, asked):
        done = subprocess.run(
            [
                *(CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--dump-dom"),
                *("--virtual-time-budget=10000", "--window-size=1300,1000", f"{url}/probe.html"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console, [path for path in asked if "favicon" not in path]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_the_console_is_silent(made: Made, tmp_path: Path, width: int) -> None:
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    dom, console, asked = looked_at(html, tmp_path, width)
    found = re.search(r"WIDE (\d+) (.*?) END", dom)
    assert found, dom[-500:]
    assert int(found[1]) <= width, found[2]
    assert found[2] == ""
    assert "ASIDE  END" in dom, "no figure of a wide table is out of sight"
    assert "STYLED 0px END" in dom, "the policy lets the page's own style in"
    assert console == ""
    assert sorted(asked) == ["/probe.html", "/report.html"]


def test_hostile_names_neither_run_nor_overflow(fresh: Store, tmp_path: Path) -> None:
    names = (HOSTILE, '"><img src=/evil.png onerror=alert(2)>', "x" * 190, "طلب \u202eاسترداد", "🧾" * 60)
    documents = [
        document(f"{name}-{number}", night(number), task_type=name, agent_version=name, output=name * 4, input=name)
        for name in names
        for number in range(3)
    ]
    html = report_html.render(gather(make(fresh, documents, lambda scorer, run_id: 0.0).project, ReportRequest(), NOW))
    dom, console, asked = looked_at(html, tmp_path, 390)
    found = re.search(r"WIDE (\d+) (.*?) END", dom)
    assert found, dom[-500:]
    assert int(found[1]) <= 390, found[2]
    assert console == ""
    assert sorted(asked) == ["/probe.html", "/report.html"]
