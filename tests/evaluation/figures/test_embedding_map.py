import re

import numpy as np
import pandas as pd

from offsite.evaluation.figures.embedding_map import embedding_map_figure


def rows(sites, classes=3, count=12):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "site": site, "site_role": "held_out" if site.endswith("0") else "training",
                "label": f"c{i % 4}" if i % 4 < classes else "", "x": x, "y": y,
                "explained_x": 0.5, "explained_y": 0.25,
            }
            for site in sites for i, (x, y) in enumerate(rng.normal(size=(count, 2)))
        ]
    )  # fmt: skip


def test_every_image_is_drawn_once_by_class_and_once_by_site():
    table = rows(["s0", "s1"], count=80)
    drawn = embedding_map_figure(table, ["c0", "c1", "c2"], ["s0", "s1"])
    entries = 3 + 1 + 2 + 2  # of the legends: classes, images without a label, fillings, sites
    assert 0 <= len(re.findall(r'<use |z\n" clip-path', drawn.svg)) - 2 * len(table) <= entries
    for said in ("By class", "By site", "no label", "held-out sites", "s0", "50", "25", "c0: "):
        assert said in drawn.svg + drawn.description
    assert embedding_map_figure(table, ["c0", "c1", "c2"], ["s0", "s1"]) == drawn


def test_of_more_than_eight_sites_the_last_are_drawn_as_one():
    sites = [f"site{i}" for i in range(10)]
    drawn = embedding_map_figure(rows(sites), ["c0", "c1", "c2"], sites)
    assert "other sites" in drawn.svg
    assert "site6" in drawn.svg
    assert "site7" not in drawn.svg


def test_images_along_a_line_and_a_lone_image_are_drawn():
    line = rows(["s0"]).assign(y=0.0, explained_y=0.0)
    for table in (line, line[:1]):
        drawn = embedding_map_figure(table, ["c0", "c1", "c2"], ["s0"]).svg
        assert "<use " in drawn
        assert "held-out sites" not in drawn  # there are no others to tell them from
