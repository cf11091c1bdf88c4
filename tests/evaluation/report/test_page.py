import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.report.page import write_report
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings, ShiftSettings, TaskSettings
from offsite.evaluation.tables.reading import read_evaluation, read_table
from offsite.files import read_json


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def words(page: str, anchor: str) -> str:
    section = page.split(f'<section id="{anchor}"', 1)[1].split("</section>", 1)[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", section.split(">", 1)[1]))


def test_every_part_has_its_section_and_every_link_its_target(page):
    elements = Elements(page)
    sections = [section["id"] for section in elements.of("section")]
    assert sections == [
        "summary", "sites", "operating", "calibration", "confusion", "embeddings", "shift", "shortcuts",
        "foreign", "sets", "selective", "cohort", "limits", "provenance", "how",
    ]  # fmt: skip
    targets = {link["href"] for link in elements.of("a")}
    assert {f"#{name}" for name in sections} <= targets
    assert targets <= {f"#{name}" for name in re.findall(r' id="([^"]+)"', page)}


def test_ids_are_unique_and_nothing_is_loaded_from_anywhere(page):
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not elements.of("script")
    assert not elements.of("link")
    assert not elements.of("img")
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^#"'][^"']*)""", page)
    assert loaded == []
    assert "url(http" not in page
    assert "@import" not in page


def test_text_from_data_is_shown_and_never_run(page):
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "<b>mild" not in page
    assert "&lt;script&gt;document.title" in page
    assert "severe &amp; worse" in page


def test_no_patient_is_named(page, evaluation):
    assert "Utrecht 17" not in page
    for file in evaluation.folder.rglob("*.*"):
        assert "Utrecht 17" not in file.read_text(encoding="utf-8")


def test_the_summary_begins_with_the_weakest_site_that_can_be_judged(page, evaluation):
    table = evaluation.per_site
    rows = table[(table["metric"] == "auroc") & ~table["site"].str.startswith("_")]
    firm = rows[(rows["n_patients"] >= 30) & rows["value"].notna()]
    worst = firm.loc[firm["value"].idxmin()]
    first = words(page, "summary").strip().removeprefix("Summary").strip()
    assert first.startswith("At the weakest site, ")
    assert f"was {worst['value']:.2f} (95 % interval {worst['low']:.2f}–" in first


def test_hard_sites_are_told_with_their_reason(page):
    text = words(page, "summary")
    assert "Twelve has 24 images of 12 patients, fewer than 30 patients" in text
    assert "No labels has no AUROC (no labels): how the model does there is not known" in text
    assert "One class has no AUROC (one class only)" in text


def test_every_value_of_the_first_table_stands_in_the_csv(page, evaluation):
    shown = re.findall(r'<td class="number">(\d\.\d\d)<small>(\d\.\d\d)–(\d\.\d\d)', page)
    known = {
        tuple(f"{number:.2f}" for number in row)
        for table in (evaluation.per_site, read_table(evaluation.folder / "operating_points.csv"))
        for row in table[["value", "low", "high"]].dropna().to_numpy()
    }
    first_table = page.split("Results by site, the worst first <a", 1)[1].split("</table>")[0]
    in_first = re.findall(r'<td class="number">(\d\.\d\d)<small>(\d\.\d\d)–(\d\.\d\d)', first_table)
    assert len(in_first) > 20
    assert set(in_first) <= known
    assert len(shown) > len(in_first)


def test_exclusions_and_limits_are_printed(page):
    assert "excluded" in words(page, "cohort")
    limits = words(page, "limits")
    assert "Fewer than 30 patients at Twelve" in limits
    assert "Labels by one reader" in limits


def test_figures_have_a_name_and_say_what_they_show(page, evaluation):
    figures = [drawn for drawn in Elements(page).of("svg") if drawn.get("role") == "img"]
    files = list((evaluation.folder / "figures").glob("*.svg"))
    assert len(figures) == len(files) >= 8
    for file in files:  # each can be opened alone
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
    for drawn in figures:
        title, description = (drawn["aria-labelledby"] or "").split()
        for name, tag in ((title, "title"), (description, "desc")):
            text = re.search(rf'<{tag} id="{name}">([^<]+)</{tag}>', page)
            assert text
            assert len(text.group(1)) > 8
    assert "Delft" in re.search(r'<desc id="forest-d">([^<]+)', page).group(1)


def test_tables_have_captions_and_scopes(page):
    assert page.count("<table>") == page.count("<caption>") > 10
    heads = re.findall(r"<th[ >][^>]*>?", page)
    assert all("scope=" in head for head in heads)


def test_the_same_tables_give_the_same_page(evaluation, page):
    assert write_report(evaluation.folder).read_text(encoding="utf-8") == page


def test_a_finished_evaluation_is_left_alone_and_a_changed_setting_redoes_it(
    evaluation, hard_predictions, report_settings, tmp_path
):
    light = report_settings.model_copy(update={"parts": ()})
    first = evaluate(hard_predictions, tmp_path / "e", light)
    stamp = (tmp_path / "e" / "per_site.csv").stat().st_mtime_ns
    assert evaluate(hard_predictions, tmp_path / "e", light).key == first.key
    assert (tmp_path / "e" / "per_site.csv").stat().st_mtime_ns == stamp
    other = light.model_copy(update={"title": "Another title"})
    assert evaluate(hard_predictions, tmp_path / "e", other).key != first.key
    assert "Another title" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    # The per-site numbers do not depend on what else is measured.
    pd.testing.assert_frame_equal(first.per_site, evaluation.per_site)
    assert "Not measured in this evaluation: calibration" in words(
        (tmp_path / "e" / "report.html").read_text(encoding="utf-8"), "limits"
    )


def test_a_damaged_table_is_refused_by_name_and_made_again(
    hard_predictions, report_settings, tmp_path
):
    light = report_settings.model_copy(update={"parts": ()})
    evaluate(hard_predictions, tmp_path / "e", light)
    file = tmp_path / "e" / "per_site.csv"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0.9", b"0.8", 1))
    with pytest.raises(InputError, match=r"per_site\.csv.*offsite evaluate") as caught:
        read_evaluation(tmp_path / "e")
    assert caught.value.code == "damaged_evaluation"
    evaluate(hard_predictions, tmp_path / "e", light)
    assert file.read_bytes() == whole


def test_an_evaluation_killed_before_its_end_is_made_again(
    hard_predictions, report_settings, tmp_path, monkeypatch
):
    import offsite.evaluation.evaluating as evaluating

    light = report_settings.model_copy(update={"parts": ()})
    undisturbed = evaluate(hard_predictions, tmp_path / "whole", light)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating, "write_report", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(hard_predictions, tmp_path / "cut", light)
    monkeypatch.undo()
    assert read_json(tmp_path / "cut" / "evaluation.json")["status"] == "running"
    again = evaluate(hard_predictions, tmp_path / "cut", light)
    assert again.key == undisturbed.key
    for name in ("per_site.csv", "confusion.csv", "cohort.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_folder_of_other_files_is_not_touched(hard_predictions, report_settings, tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="holds other files"):
        evaluate(hard_predictions, tmp_path, report_settings)
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"


def test_a_site_may_not_be_called_like_a_summary(hard_predictions, report_settings, tmp_path):
    table = hard_predictions.table.assign(site="_pooled")
    odd = replace(hard_predictions, table=table)
    with pytest.raises(InputError, match="'_pooled' cannot be the name of a site"):
        evaluate(odd, tmp_path / "e", report_settings)


def test_tables_are_read_as_text_where_they_are_text(tmp_path):
    (tmp_path / "t.csv").write_text("site,site_role,value,reason\nNA,training,0.5,\n007,,,ok\n")
    table = read_table(tmp_path / "t.csv")
    assert table["site"].tolist() == ["NA", "007"]
    assert table["site_role"].tolist() == ["training", ""]
    assert table["value"].isna().tolist() == [False, True]


def test_a_folder_without_a_per_site_table_is_no_evaluation(tmp_path):
    with pytest.raises(InputError, match=r"no per_site\.csv"):
        write_report(tmp_path)


def test_an_evaluation_in_which_nothing_is_defined_still_has_its_page(
    hard_predictions, report_settings, tmp_path
):
    rows = (hard_predictions.table["site"] == "No labels").to_numpy()
    bare = replace(hard_predictions.select(rows), embeddings=None, logits=None)
    found = evaluate(bare, tmp_path / "e", report_settings)
    text = words(found.report.read_text(encoding="utf-8"), "summary")
    assert "No metric is defined at any site" in text
    assert "No labels has no AUROC (no labels)" in text
    for table in (tmp_path / "e").glob("*.csv"):
        content = table.read_text(encoding="utf-8").lower()
        assert ",nan" not in content
        assert ",inf" not in content


def test_foreign_images_have_a_group_of_their_own(hard_predictions, report_settings, tmp_path):
    foreign = hard_predictions.select((hard_predictions.table["site"] == "Twelve").to_numpy())
    foreign = replace(
        foreign,
        table=foreign.table.assign(site="natural photographs"),
        embeddings=foreign.embeddings + 40.0,
    )
    chosen = report_settings.model_copy(update={"parts": ("ood",)})
    found = evaluate(
        hard_predictions, tmp_path / "e", chosen, far=foreign, facts={"seeds": {"training": 7}}
    )
    text = words(found.report.read_text(encoding="utf-8"), "foreign")
    group = text.split("Far: never meant for this model", 1)[1]
    assert group.startswith("natural photographs100 %")
    assert read_json(tmp_path / "e" / "evaluation.json")["seeds"] == {"bootstrap": 0, "training": 7}
    alone = evaluate(hard_predictions, tmp_path / "alone", chosen, facts={"seeds": {"training": 7}})
    assert alone.key != found.key


def test_a_table_without_rows_is_refused(hard_predictions, tmp_path):
    nothing = hard_predictions.select(np.zeros(len(hard_predictions), dtype=bool))
    with pytest.raises(InputError, match="no predictions"):
        evaluate(nothing, tmp_path / "e")


def test_the_page_says_where_threshold_and_case_mix_come_from(hard_predictions, tmp_path):
    strict = TaskSettings(positive_classes=("severe & worse",), threshold=0.9)
    settings = ReportSettings(
        parts=("operating_points", "shift"),
        metrics=EvaluationSettings(resamples=100, tasks={"severe": strict}),
        shift=ShiftSettings(permutations=99, resamples=50, null_splits=19),
    )
    page = evaluate(hard_predictions, tmp_path / "whole", settings).report.read_text()
    assert "A threshold is chosen once" in words(page, "operating")
    assert "without labels at No labels; elsewhere it is counted" in words(page, "shift")
    named = np.isin(hard_predictions.table["site"], ["No labels"])
    measured = (hard_predictions.table["split"] == "test").to_numpy() & ~named
    page = evaluate(hard_predictions.select(measured), tmp_path / "test", settings)
    page = page.report.read_text()
    assert "promises no sensitivity" in words(page, "operating")
    assert "Sensitivity for severe is under the wanted" in words(page, "summary")
    assert "than promised" not in words(page, "summary")
    assert "The case mix is counted from the labels." in words(page, "shift")
