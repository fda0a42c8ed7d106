"""The page in a real browser: `make browser`. What it looked like is in build/screenshots."""

from pathlib import Path

import pytest

import browser
from mox_report.commands import main

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}

# Texts whose contrast to what is behind them is below that of WCAG 2.2, 4.5; those on squares of the matrix have one of
# their own.
TOO_FAINT = """(() => {
  const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => rgb(colour).slice(0, 3).map(each => each / 255)
    .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((rgb(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const own = element => [...element.childNodes].some(each => each.nodeType === 3 && each.data.trim());
  return [...document.querySelectorAll('main *')].filter(own).filter(element => !element.closest('.matrix svg'))
    .map(element => {
      const style = getComputedStyle(element);
      const both = [light(element.closest('svg') ? style.fill : style.color), light(behind(element))];
      return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), element.textContent];
    }).filter(([contrast]) => contrast < 4.5);
})()"""

SMALLEST_LETTERS = """Math.min(...[...document.querySelectorAll('figure svg text')]
  .map(each => [parseFloat(getComputedStyle(each).fontSize), each.getScreenCTM()])
  .map(([size, matrix]) => size * Math.hypot(matrix.a, matrix.b)))"""

BEYOND_THE_SCREEN = """[...document.querySelectorAll('main *')]
  .filter(each => !each.closest('.scroll > *') && each.getBoundingClientRect().right > innerWidth + 1)
  .map(each => each.outerHTML.slice(0, 80))"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if browser.find() is None:
        pytest.fail(f"there is no browser: one of {', '.join(browser.NAMES)} is to be installed.")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with browser.opened(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture
def report(write_training, tmp_path):
    """A page of three trainings, one of them with long names, one with many classes."""
    long = "a name that is longer than a telephone is wide, by far/and_without_a_place_where_it_could_be_broken_at_all"
    write_training(tmp_path / "first")
    write_training(tmp_path / "second", 2.0, classes=("cat", long, "owl"), sample=long * 2, names=("loss", long))
    output = tmp_path / "report.html"
    many = write_training(tmp_path / "many", 3.0, classes=[f"class {number}" for number in range(24)])
    main([*(str(tmp_path / name) for name in ("first", "second")), str(many), "--output", str(output)])
    return output


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_is_read_on_every_screen(page, report, size, dark):
    page.requests.clear()
    page.complaints.clear()
    page.open(report, **size, dark=dark)
    name = f"{'desk' if size is DESK else 'phone'}-{'dark' if dark else 'light'}"
    page.screenshot(SCREENSHOTS / f"{name}.png")
    assert [each for each in page.requests if not each.startswith("data:")] == [report.as_uri()]
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(BEYOND_THE_SCREEN) == []
    assert page.evaluate(TOO_FAINT) == []
    assert page.evaluate(SMALLEST_LETTERS) >= 9
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 22, 26)" if dark else "rgb(246, 246, 244)")
    pictures = page.evaluate("[...document.images].map(each => each.complete && each.naturalWidth)")
    assert pictures == [8] * 6


def test_the_page_is_printed_dark_on_white(page, report):
    page.open(report, **DESK, dark=True, media="print")
    page.screenshot(SCREENSHOTS / "print.png")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(TOO_FAINT) == []
    printed = page.pdf()
    (SCREENSHOTS / "print.pdf").write_bytes(printed)
    assert printed.startswith(b"%PDF")
