from pathlib import Path

import pandas as pd

from offsite.workflows.stages.evaluation import cohort_flow


def test_images_predicted_but_not_trained_on_are_no_images_more(tmp_path: Path) -> None:
    pd.DataFrame({"site": ["a", "a", "b"]}).to_parquet(tmp_path / "predictions.parquet")
    pd.DataFrame(
        {
            "site": ["a", "b"],
            "status": ["not_trained_on", "not_prepared"],
            "code": ["ungradable", "no_field_of_view"],
        }
    ).to_csv(tmp_path / "excluded.csv", index=False)
    flow = cohort_flow(tmp_path)
    counts = flow.set_index(["site", "outcome", "reason"])["n"].to_dict()
    assert counts == {
        ("a", "predicted", ""): 2,
        ("a", "of these not trained on", "ungradable"): 1,
        ("b", "predicted", ""): 1,
        ("b", "excluded", "no_field_of_view"): 1,
    }
