"""The worklist in a real browser: sorted, filtered, searched, keyed, escaped, quick."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from offsite.preprocessing.views import jpeg, png
from offsite.workflows.predict.answers.rollup import patients_of
from offsite.workflows.predict.pages.wording import known_at
from offsite.workflows.predict.pages.writing import PageModel, put, write_cases, write_worklist
from tests.workflows.packages import small_record

CHROMIUM = Path("/usr/bin/chromium")
MODEL = PageModel(record=small_record(), sha256="0" * 64, software="0")
DECISIONS = ("no_referral", "refer", "urgent", "retake", "human_review")
ATTACK = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


def record(number: int, **changes: Any) -> dict[str, Any]:
    decision = DECISIONS[number % 5]
    answered = decision != "retake"
    share = round(0.9 - 0.0003 * number, 6)
    values: dict[str, Any] = {
        "number": number, "case": f"case-{number:04d}", "input": f"/scans/eye {number}.jpg",
        "patient": f"p{number // 2}", "eye": ("left", "right")[number % 2],
        "site": ("north", "south")[number // 2 % 2], "input_sha256": f"{number:064d}",
        "status": "ok" if answered else "excluded", "code": "ok" if answered else "ungradable",
        "decision": decision, "reasons": ["because"] if answered else ["too dark"],
        "referable_probability": share if answered else None, "duplicate_of": "", "files": {},
    }  # fmt: skip
    if answered:
        values |= {
            "prediction": "mild", "calibrated": True, "ood_percentile": number % 100,
            "probabilities": {"none": 1 - share, "mild": share / 2, "severe": share / 2},
            "referable": "yes", "referable_threshold": 0.3, "referable_threshold_origin": "here",
            "urgent": "no", "urgent_probability": share / 2, "urgent_threshold": None,
            "urgent_threshold_origin": "", "set_90": ["mild"], "set_95": [], "quality": "gradable",
            "quality_score": 0.8, "quality_reasons": [], "site_profile": "north",
        }  # fmt: skip
    return {**values, **changes}


def published(folder: Path, records: list[dict[str, Any]]) -> list[str]:
    for one in records:
        (folder / "cases" / one["case"]).mkdir(parents=True, exist_ok=True)
    patients = patients_of(records, "photographs")
    order = write_worklist(records, patients, folder, MODEL, "2026-01-01T00:00:00Z")
    write_cases(records, order, folder, MODEL)
    return order


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield chromium
        chromium.close()


def opened(browser: Any, path: Path) -> tuple[Any, list[str]]:
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(90_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("request", lambda sent: faults.append(sent.url) if sent.url[:4] == "http" else None)
    page.goto(path.as_uri())
    return page, faults


def names(page: Any) -> list[str]:
    return list(page.locator("#cases a.row .name").all_inner_texts())


def test_worklist_of_2000_cases(browser: Any, tmp_path: Path) -> None:
    order = published(tmp_path, [record(number) for number in range(2000)])
    start = time.monotonic()
    page, faults = opened(browser, tmp_path / "index.html")
    page.locator("#cases a.row").first.wait_for()
    assert time.monotonic() - start < 20, "quick is below a second; this only sees a disaster"
    assert order[0] == "case-0002"  # urgent, and the most probable of these
    assert names(page)[0] == "eye 2.jpg"
    assert 0 < len(names(page)) < 200, "rows are made as they are needed"

    page.keyboard.press("2")  # refer
    assert page.locator("#count").inner_text() == "400 of 2000"
    assert set(page.locator("#cases .pill").all_inner_texts()) == {"Refer"}
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("eye 1997.jpg south")
    assert page.locator("#count").inner_text() == "0 of 2000"
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("eye 1999.jpg")
    assert names(page) == ["eye 1999.jpg"]
    page.keyboard.press("Escape")
    page.select_option("#site", label="south")
    assert page.locator("#count").inner_text() == "1000 of 2000"
    page.keyboard.press("Escape")
    page.select_option("#order", value="number")
    assert names(page)[:2] == ["eye 0.jpg", "eye 1.jpg"]
    for _ in range(3):
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(60)
    assert len(names(page)) >= 180, "more rows come as one scrolls"

    page.get_by_role("button", name="Patients").click()
    assert page.locator("#count").inner_text() == "1000 of 1000"
    page.get_by_role("button", name="Cases", exact=True).click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/case-0001/index.html")
    page.keyboard.press("Escape")
    page.wait_for_url("**/index.html")
    assert faults == []
    page.close()


def test_case_page_with_overlay_and_neighbours(browser: Any, tmp_path: Path) -> None:
    files = {"image": "image.jpg", "thumbnail": "image.jpg", "overlay": "overlay.png"}
    order = published(tmp_path, [record(2, files=files), record(7), record(3)])
    folder = tmp_path / "cases" / "case-0002"
    (folder / "image.jpg").write_bytes(jpeg(np.full((40, 60, 3), 200, np.uint8)))
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:, :30] = (255, 0, 0, 255)
    (folder / "overlay.png").write_bytes(png(rgba))
    page, faults = opened(browser, folder / "index.html")

    def red() -> bool:
        box = page.locator("#stage").bounding_box()
        clip = {"x": box["x"] + box["width"] / 4, "y": box["y"] + box["height"] / 2,
                "width": 4, "height": 4}  # fmt: skip
        shot = cv2.imdecode(np.frombuffer(page.screenshot(clip=clip), np.uint8), 1)
        return bool(shot[0, 0, 2] > 200 and shot[0, 0, 1] < 60)

    assert not red(), "a photograph is seen without it first"
    page.keyboard.press("o")
    assert red()
    page.locator("#overlay").click()
    assert not red()
    assert "Research use only" in page.inner_text("body")
    assert "empty: no class fits" in page.inner_text("body")
    assert "auroc" in page.inner_text("body")
    assert order == ["case-0002", "case-0007", "case-0003"]
    page.keyboard.press("j")
    page.wait_for_url("**/case-0007/index.html")
    page.keyboard.press("j")
    page.wait_for_url("**/case-0003/index.html")
    page.keyboard.press("k")
    page.wait_for_url("**/case-0007/index.html")
    assert faults == []
    page.close()


def test_names_are_text_and_never_markup(browser: Any, tmp_path: Path) -> None:
    hostile = record(
        2, patient=ATTACK, site=ATTACK, input=f"/scans/{ATTACK.replace('/', '|')}",
        reasons=[ATTACK, "</script><script>document.title='broken'</script>"],
    )  # fmt: skip
    published(tmp_path, [hostile, record(3)])
    page, faults = opened(browser, tmp_path / "index.html")
    assert page.title() == "Worklist: 2 cases"
    assert "<script>" in page.locator("#cases a.row .quiet").first.inner_text()
    page.goto((tmp_path / "cases" / "case-0002" / "index.html").as_uri())
    assert "<script>" in page.inner_text("header")
    assert page.title().startswith("<script>")
    assert page.locator("main script, main img").count() == 0
    assert faults == []
    page.close()


def test_pages_need_nothing_from_outside(tmp_path: Path) -> None:
    published(tmp_path, [record(1)])
    for path in tmp_path.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8")
            assert "http:" not in text
            assert "https:" not in text
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["cases"][0]["name"] == "eye 1.jpg"


def test_an_unchanged_page_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    put(path.parent, path.name, "one")
    os.utime(path, ns=(0, 0))
    put(path.parent, path.name, "one")
    assert path.stat().st_mtime_ns == 0
    put(path.parent, path.name, "two")
    assert path.read_text().splitlines()[0] == "two"  # a stamp follows: whose page it is
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_no_page_is_written_through_a_link_below_the_output(tmp_path: Path) -> None:
    victim, real = tmp_path / "victim", tmp_path / "real"
    victim.mkdir()
    (real / "cases").mkdir(parents=True)
    output = tmp_path / "out"
    output.symlink_to(real)  # the output itself may lie on another disk
    (output / "cases" / "x").symlink_to(victim)
    (output / "assets").symlink_to(victim)
    for name in ("index.html", "cases/x/index.html", "cases/y/index.html", "assets/style.css"):
        put(output, name, "one")
    assert list(victim.iterdir()) == []
    written = {str(file.relative_to(real)) for file in real.rglob("*.html")}
    assert written == {"index.html", "cases/y/index.html"}


def test_a_site_that_was_never_measured_is_told_so() -> None:
    assert known_at("north", MODEL.record)["rows"][0]["estimate"] == "0.900 (0.800 to 0.950)"
    unknown = known_at("elsewhere", MODEL.record)
    assert unknown["warn"]
    assert "Nothing was ever measured here" in unknown["text"]
    assert known_at("x", small_record(results=()))["rows"] == []
