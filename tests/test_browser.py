"""The report in a real browser: Debian's Chromium, driven by Playwright (the extra ``browser``)."""

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import known_rows
import pytest
from test_changes import runs as comparison_runs
from test_claims import clear
from test_reports import results

from reports import write_changes, write_report
from reports.publish import FIGURES

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra: pip install '.[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

LEGIBLE = 4.5  # contrast of text with its ground, WCAG 2.1 level AA
CONTRAST = """(selector) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
      .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)" && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll(selector)].map((element) => {
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("browser")
    rows = known_rows.study(base / "results")
    levels = [{}, {"congestion": "strong"}, {"settlement": "tariff"}]
    results(rows / "study", [one for seed in range(3) for level in levels for one in clear(seed, **level)])
    return write_report(rows, base / "out")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # which Chromium refuses to root
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """Opens a page, else the report, with a width and a colour scheme; fails on any error or request."""
    told: list[str] = []
    pages = []

    def opened(width: int = 1200, scheme: str = "light", file: Path = page_file) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", ask)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    def ask(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            told.append(f"asked for {request.url}")

    yield opened
    for page in pages:
        page.close()
    assert told == []


def test_every_figure_is_there_with_its_caption_and_a_table_behind_it(opened: Any) -> None:
    page = opened()
    for name in set(FIGURES) - {"changes"}:
        figure = page.locator(f"#figure-{name}")
        panels = figure.locator("svg")
        assert panels.count() >= 1, name
        for number in range(panels.count()):
            box = panels.nth(number).bounding_box()
            assert box and box["width"] > 200 and box["height"] > 150, name
            assert panels.nth(number).locator("path").count() > 3
        assert len(figure.locator("figcaption").inner_text()) > 40
        behind = (
            figure.locator("figcaption a").count()
            if name == "growth"
            else page.locator(f"section:has(#figure-{name}) table").count()
        )
        assert behind >= 1, name


def test_the_first_screen_of_a_phone_has_the_verdict_and_the_picture(opened: Any) -> None:
    page = opened(390)
    headline = page.locator(".headline")
    assert "Variables grow linearly with nearest:4 and quadratically with complete" in headline.inner_text()
    box = page.locator("#figure-growth svg").first.bounding_box()
    assert box and box["y"] + box["height"] < 844


@pytest.mark.parametrize("width", [390, 320, 1200])
def test_nothing_scrolls_sideways(width: int, opened: Any) -> None:
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, svg")
      && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []


def test_text_in_the_figures_stays_in_its_panel(opened: Any) -> None:
    page = opened(390)
    cut = """[...document.querySelectorAll("figure svg")].flatMap((svg) => {
      const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("text")].filter((t) => {
        const own = t.getBoundingClientRect();
        return own.right > box.right + 2 || own.left < box.left - 2 || own.bottom > box.bottom + 2;
      }).map((t) => t.textContent);
    })"""
    assert page.evaluate(cut) == []


def test_tables_sort_by_number_both_ways_with_missing_values_last(opened: Any) -> None:
    page = opened()
    table = page.locator("section#gaps table")

    def column(place: int) -> list[str]:
        return table.locator(f"tbody tr td:nth-child({place})").all_inner_texts()

    heads = table.locator("th").all_inner_texts()
    place = 1 + next(number for number, head in enumerate(heads) if head.strip() == "total (s)")
    for direction in ("ascending", "descending"):
        table.locator(f"th:nth-child({place}) button").click()
        assert table.locator(f"th:nth-child({place})").get_attribute("aria-sort") == direction
        shown = column(place)
        n_known = sum(text != "–" for text in shown)
        assert 0 < n_known < len(shown) and set(shown[n_known:]) == {"–"}
        values = [float(text.replace(",", "")) for text in shown[:n_known]]
        assert values == sorted(values, reverse=direction == "descending") and values != values[::-1]
    table.locator("th:nth-child(4) button").click()  # and by words
    assert column(4) == sorted(column(4), key=["certified", "gap_limit", "time_limit"].index)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_either_scheme(scheme: str, opened: Any) -> None:
    page = opened(1200, scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in ("p, dd, dt, h1, h2, h3, li", "figcaption", "td", "th button", "a", "figure svg text"):
        contrasts = page.evaluate(CONTRAST, selector)
        assert contrasts and min(contrasts) >= LEGIBLE, (selector, min(contrasts))


def test_lines_stand_out_from_the_ground_in_the_dark(opened: Any) -> None:
    page = opened(1200, "dark")
    strokes = page.evaluate(
        """[...new Set([...document.querySelectorAll("figure svg path")]
          .map((e) => getComputedStyle(e).stroke))]"""
    )
    assert len(strokes) > 6 and "rgb(27, 31, 36)" not in strokes  # the ink of the light page
    assert "rgb(86, 180, 233)" in strokes  # the first curve's step for the dark one


def test_the_rows_come_out_of_the_page_as_they_went_in(opened: Any, page_file: Path) -> None:
    page = opened()
    for name in ("rows.csv", "rows.jsonl"):
        with page.expect_download() as download:
            page.locator(f'.downloads a[download="{name}.gz"]').click()
        assert download.value.suggested_filename == f"{name}.gz"
        packed = Path(download.value.path()).read_bytes()
        assert gzip.decompress(packed) == (page_file.parent / name).read_bytes()


def test_a_comparison_opens_too(opened: Any, tmp_path: Path) -> None:
    before = results(tmp_path / "a", comparison_runs(0))
    after = results(tmp_path / "b", comparison_runs(1, factor=1.2))
    file, _ = write_changes(before, after, tmp_path / "out")
    page = opened(390, "dark", file)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#figure-changes svg").count() == 6 and page.locator("table").count() == 2
    assert "Build with nearest:4: slower" in page.locator(".headline").inner_text()
    assert page.locator(".downloads").count() == 0
