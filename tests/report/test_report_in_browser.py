"""What a browser makes of the page, if there is a Chromium to ask."""

import html
import json
import re
import shutil
import subprocess

import pytest

import keras_ltssl as lt

CHROMIUM = next(
    filter(
        None,
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome")),
    ),
    None,
)
EVIL = (
    "<script>parent.alerted = 1</script>.jpg",
    '"><img src=x onerror="parent.alerted = 1">.jpg',
    "name-without-a-place-to-break-" + "x" * 150 + ".jpg",
    "動物園/キツネ.jpg",
)
# Loads the page into frames and writes down what it measures there.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><title>probe</title>
%s
<pre id="found"></pre>
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    const root = page.documentElement;
    page.querySelectorAll("details").forEach(one => { one.open = true; });
    const images = [...page.querySelectorAll("img")];
    const texts = [...page.querySelectorAll("p,li,td,th,figcaption,text")];
    return {
      width: root.clientWidth,
      scrollWidth: root.scrollWidth,
      images: images.length,
      broken: images.filter(image => !image.naturalWidth).length,
      narrowest: Math.min(...images.map(image => image.clientWidth)),
      smallestText: Math.min(...texts.map(text => {
        const size = parseFloat(frame.contentWindow.getComputedStyle(text)
          .fontSize);
        const chart = text.closest("svg");
        return chart
          ? size * chart.clientWidth / chart.viewBox.baseVal.width
          : size;
      })),
      scripts: page.scripts.length,
    };
  });
  document.getElementById("found").textContent =
    JSON.stringify({found, alerted: window.alerted || 0});
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_fits_a_phone_and_a_desk_and_runs_no_name(make_run, tmp_path):
    pytest.importorskip("PIL")
    run = make_run(
        names=EVIL,
        labeled=True,
        photos=True,
        skipped=[{"path": EVIL[1], "reason": EVIL[0]}],
    )
    page = lt.report.write_report(
        run.folder, neighbors_of=EVIL, verbose=False
    ).read_text(encoding="utf-8")
    frames = "".join(
        f'<iframe width="{width}" height="900" '
        f'style="border:0;width:{width}px" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for width in (320, 390, 1280)
    )
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE % frames, encoding="utf-8")
    shown = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",  # Chromium refuses to run as root otherwise.
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,900",
            "--virtual-time-budget=20000",
            "--dump-dom",
            probe.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    found = json.loads(
        html.unescape(re.search(r'<pre id="found">(.*)</pre>', shown)[1])
    )
    assert found["alerted"] == 0
    assert [frame["width"] for frame in found["found"]] == [320, 390, 1280]
    for frame in found["found"]:
        assert frame["scrollWidth"] <= frame["width"]
        assert frame["images"] > 30
        assert frame["broken"] == 0
        assert frame["narrowest"] >= 60
        assert frame["smallestText"] >= 11
        assert frame["scripts"] == 0
