"""Take the pictures of the README again, with Chromium, of the page of `make demo`.

    make demo && .venv/bin/python docs/images/take.py demo_run/report.html

Each shows two parts of the page beside each other: its beginning, and the mistakes of the model.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "shared"))
import browser

WIDTH, SHOWN, COLOURS = 900, 1800, 256
ABOVE = 32
PLACE = "[...document.querySelectorAll('h2')].find(each => each.textContent === '{}').getBoundingClientRect().top"


def main() -> None:
    """Take both pictures."""
    page_file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, browser.opened(Path(folder) / "profile") as page:
        for name, dark in (("light", False), ("dark", True)):
            page.open(page_file, width=WIDTH, height=800, dark=dark)
            end, begin = (int(page.evaluate(PLACE.format(each))) for each in ("In the end", "What was taken for what"))
            file = Path(folder) / "page.png"
            page.screenshot(file)
            whole = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
            scale = whole.width / WIDTH
            left, right = (
                whole.crop([round(scale * each) for each in (0, top, WIDTH, top + end)]) for top in (0, begin - ABOVE)
            )
            both = Image.new("RGB", (2 * left.width, left.height))
            both.paste(left, (0, 0))
            both.paste(right, (left.width, 0))
            both = both.resize((SHOWN, round(both.height * SHOWN / both.width)), Image.Resampling.LANCZOS)
            small = both.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            small.save(Path(__file__).with_name(f"report-{name}.png"), optimize=True)


if __name__ == "__main__":
    main()
