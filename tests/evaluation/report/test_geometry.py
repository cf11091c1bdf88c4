"""The line on how embeddings lie, and the caution for a class that hardly exists."""

from types import SimpleNamespace

from offsite.evaluation.report.sections import embeddings
from offsite.evaluation.tables.reading import Evaluated

FOUND = {
    "train": {"items": {"mild": 380, "<b>worst</b>": 20}},
    "val": {"nc1": 1.5, "site_collapse": 0.75, "effective_rank": 12.34, "active_dimensions": 40.0, "nc1_by_stage": [9.0, 3.25, None]},
}  # fmt: skip


def test_the_line_tells_what_the_run_measured_and_is_absent_where_it_did_not():
    model = {"geometry": FOUND, "weak_classes": {"<b>worst</b>": 0.04}}
    evaluated = Evaluated(tables={}, facts={"model": model})
    (line,) = embeddings.notes(evaluated)
    for said in ("1.50", "9.00, 3.25", "0.75 times", "12.3 directions", "40 of their numbers"):
        assert said in line
    (point,) = embeddings.points(evaluated)
    assert point.caution
    assert point.sentence.startswith("<b>worst</b> (20 of 400 training images) hardly exists")
    for facts in ({}, {"model": {"name": "of others"}}, {"model": {"geometry": {"val": {}}}}):
        nothing = SimpleNamespace(facts=facts)
        assert list(embeddings.notes(nothing)) == list(embeddings.points(nothing)) == []
