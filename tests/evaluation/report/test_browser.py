"""The page in a real browser: nothing runs, nothing is fetched, and the keyboard reaches it all."""

import shutil
from collections.abc import Iterator

import pytest

from offsite.evaluation.evaluating import Evaluation

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def opened(browser, evaluation: Evaluation) -> Iterator[tuple[object, list[str], list[str]]]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(90_000)
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(evaluation.report.as_uri())
    yield tab, requests, complaints
    context.close()


def test_hostile_names_are_text_and_the_page_asks_for_nothing(opened, evaluation):
    tab, requests, complaints = opened
    assert requests == [evaluation.report.as_uri()]
    assert complaints == []
    assert tab.title().startswith("Grading <script>")
    assert tab.locator("script").count() == 0
    assert tab.locator("img").count() == 0
    heads = tab.locator("section#sites table").first.locator("tbody th[scope=row]")
    names = heads.all_inner_texts()
    assert 'Delft "><img src=x onerror="document.title=1">' in names
    assert "Leuven <script>document.title='stolen'</script>" in names
    labels = tab.locator("section#sites svg text").all_text_contents()
    assert "$\\alpha$ & Söhne" in labels


def test_the_keyboard_reaches_summary_tables_and_folds(opened):
    tab, _, _ = opened
    tab.keyboard.press("Tab")
    focused = "document.activeElement"
    assert tab.evaluate(f"{focused}.textContent") == "Skip to the summary"
    assert tab.evaluate(f"{focused}.getBoundingClientRect().left") >= 0
    tab.keyboard.press("Enter")
    tab.wait_for_function("location.hash === '#summary'")
    reached = set()
    for _ in range(30):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(f"{focused}.getAttribute('aria-label')"))
        if tab.evaluate(f"{focused}.tagName") == "SUMMARY":
            break
    assert "Results by site, the worst first" in reached
    assert tab.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    assert not tab.evaluate(f"{focused}.parentElement.open")
    tab.keyboard.press("Enter")
    assert tab.evaluate(f"{focused}.parentElement.open")


def test_figures_are_named_for_those_who_do_not_see_them(opened):
    tab, _, _ = opened
    drawn = tab.locator("section#sites figure").get_by_role("img")
    assert drawn.count() == 1
    assert tab.get_by_role("img", name="AUROC by site").count() == 1


@pytest.mark.parametrize("width", [360, 480, 1280])
def test_no_width_makes_the_page_itself_scroll_sideways(opened, width):
    tab, _, _ = opened
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_print_leaves_out_the_navigation_and_keeps_the_tables(opened):
    tab, _, _ = opened
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert tab.get_by_text("Results by site, the worst first").is_visible()
    assert tab.get_by_text("Research use only").first.is_visible()
    assert len(tab.pdf(format="A4")) > 20_000


def test_nothing_is_said_by_colour_alone(opened):
    tab, _, _ = opened
    marked = tab.locator("td.caution, li.caution")
    assert marked.count() > 3
    assert tab.locator("td.caution:not(:has(.mark)), li.caution:not(:has(.mark))").count() == 0
