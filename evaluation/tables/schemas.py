"""The tables of an evaluation: their columns, kinds and meanings, for writer, reader and docs alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from offsite.evaluation.tables.columns import DTYPES, KIND_OF, VOCABULARY


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """One table of an evaluation folder.

    Attributes
    ----------
    name : str
        File name without suffix.
    meaning : str
        What a row is.
    maker : str
        ``module:function`` that makes it.
    columns : tuple of str
        In their order; each is in the vocabulary.
    told : mapping of str to str
        Meanings that differ from the vocabulary's.
    more : str
        Prefix of further columns of counts, one for each class; empty: none.
    """

    name: str
    meaning: str
    maker: str
    columns: tuple[str, ...]
    told: Mapping[str, str] = field(default_factory=dict)
    more: str = ""

    def frame(self, records: Iterable[Mapping[str, Any]], more: Iterable[str] = ()) -> pd.DataFrame:
        """Records as the table; what a record lacks is empty.

        >>> SCHEMAS["confusion"].frame([{"site": "a", "count": 3}])[["site", "count"]].to_dict("list")
        {'site': ['a'], 'count': [3]}
        """
        kinds = {name: KIND_OF[name] for name in self.columns}
        return frame_of(records, kinds | {f"{self.more}{name}": "count" for name in more})

    def meanings(self) -> dict[str, str]:
        """What each column means, in order."""
        known = {name: VOCABULARY[KIND_OF[name]][name] for name in self.columns}
        return known | dict(self.told)


def frame_of(records: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Records as a table of ``text``, ``number``, ``count`` and ``truth`` columns, in order."""
    rows = list(records)
    return pd.DataFrame({name: _column(rows, name, kind) for name, kind in kinds.items()})


def _column(rows: list[Mapping[str, Any]], name: str, kind: str) -> "pd.Series[Any]":
    empty = "" if kind == "text" else None
    cells = [empty if (cell := row.get(name)) is None else cell for row in rows]
    return pd.Series(cells, dtype=DTYPES[kind])


_SHIFT = (
    "site site_role kind statistic value low high null_high p_value transductive n n_patients"
    " n_reference reason"
)


def _schema(
    name: str, maker: str, meaning: str, columns: str, more: str = "", **told: str
) -> TableSchema:
    return TableSchema(
        name=name,
        maker=f"offsite.evaluation.{maker}",
        meaning=meaning,
        columns=tuple(columns.split()),
        told=told,
        more=more,
    )


SCHEMAS: Mapping[str, TableSchema] = {
    schema.name: schema
    for schema in (
        _schema(
            *("cohort", "tables.cohort:cohort_table"),
            "Whose images the predictions hold: a row for each site and split.",
            "site site_role split n n_patients n_labelled",
            more="label_",
        ),
        _schema(
            *("per_site", "tables.per_site:per_site_table"),
            "Every metric at every site with a test image, pooled, at the worst site, and the gap.",
            "split site site_role metric value low high n n_positive n_patients classes_defined"
            " classes sites_defined sites reason detail effect effect_error",
        ),
        _schema(
            *("confusion", "tables.per_site:confusion_table"),
            "What is called what: a row for each site and pair of classes.",
            "site site_role true_class predicted_class count share",
        ),
        _schema(
            *("meta", "tables.meta_analysis:meta_table"),
            "Random effects over sites, and what to expect at the next hospital.",
            "metric site_role scale sites sites_left_out mean low high prediction_low"
            " prediction_high usual_low usual_high assumed_low assumed_high tau2 q q_p_value i2"
            " reason",
            sites="sites that were combined",
        ),
        _schema(
            *("shrunken", "tables.meta_analysis:shrunken_table"),
            "Each site drawn towards the others: the worst and the gap without the luck of being"
            " so.",
            "metric site_role site value shrunken low high weight reason",
            site_role="role of the sites that were combined",
        ),
        _schema(
            *("operating_points", "operating_points.table:operating_point_table"),
            "A threshold chosen on validation rows of the training sites, carried to each site.",
            "task rule target_sensitivity threshold chosen_n_positive site site_role metric value"
            " low high p_value n n_positive n_patients reason",
            p_value="`transfer_gap`: of a sensitivity under the target by chance; `specificity`: of one"
            " under that of the rows where the threshold was chosen",
        ),
        _schema(
            *("subgroups", "operating_points.subgroups:subgroup_table"),
            "Groups of patients by the columns of `by`, at each site: a row for each metric.",
            "by group site site_role metric value low high difference p_value adjusted raised n"
            " n_positive n_patients reason",
            difference="to the rest of the site, where both have 30 patients",
            p_value="of so much worse a value than that of the rest by chance",
            raised="whether the group is worse, beyond chance over the whole table",
        ),
        _schema(
            *("net_benefit", "operating_points.net_benefit:net_benefit_table"),
            "Decision curves: a row for each task, site and threshold.",
            "task site site_role threshold net_benefit low high treat_all treat_none advantage"
            " advantage_low advantage_high n n_positive n_patients reason",
            threshold="probability at which one would act",
        ),
        _schema(
            *("calibration", "calibration.table:calibration_tables"),
            "How far probabilities can be taken at their word, as they are and after calibration.",
            "task calibrator site site_role metric value low high null_mean null_high excess"
            " p_value n n_positive n_patients reason",
            p_value="`slope`: of one under 1 by chance; `intercept`: of one that is not 0 by chance",
        ),
        _schema(
            *("reliability", "calibration.table:calibration_tables"),
            "Reliability curves: a row for each task, calibrator, site and bin.",
            "task calibrator site site_role bin probability observed low high band_low band_high n"
            " n_positive n_patients reason",
        ),
        _schema(
            *("embedding_map", "tables.embeddings:embedding_tables"),
            "Test images on the plane in which the embeddings of training images vary most: a row for each "
            "that is drawn.",
            "site site_role label x y explained_x explained_y",
            label="its class; empty where it has none",
        ),
        _schema(
            *("embeddings", "tables.embeddings:embedding_tables"),
            "Whether embeddings go by class or by site: a row for each class, role and metric.",
            "label site_role metric value low high n n_patients n_reference reason",
            label="a class",
            n_reference="training images it is compared with",
        ),
        _schema(
            *("site_coupling", "shift.coupling:coupling_table"),
            "Within a class, the correlation of the log-odds of a task with those of being from a training"
            " site, by a classifier of the embedding: 0 where the answer does not ride on the site.",
            "task site value low high n n_patients reason",
            site="training site that is told from the others",
        ),
        _schema(
            *("ood", "ood.table:ood_table"),
            "What each detector notices at each site. A larger score is more unlike the training"
            " images.",
            "detector category site site_role metric value low high p_value n n_positive"
            " n_patients n_reference threshold threshold_from reason",
            site_role="`training` or `held_out`; empty for near and far sets",
            n_positive="images of the site; of `error` the wrong ones, of `flag_rate` the flagged",
            p_value="`flag_rate`: of so many flagged where at most twice the expected share is",
        ),
        _schema(
            *("shift", "shift.table:shift_tables"),
            "Three rows for each test site. A held-out site is compared with the test rows of the"
            " training sites, a training site with those of the others.",
            _SHIFT,
        ),
        _schema(
            *("shift_details", "shift.table:shift_tables"),
            "Every statistic of every test site, and two of the features of all sites together.",
            _SHIFT,
        ),
        _schema(
            *("conformal", "conformal.table:conformal_table"),
            "Prediction sets: a row for each site, level and label.",
            "site site_role level label coverage low high p_value beta_sd mean_size singleton_rate"
            " empty_rate refer_rate calibrated_at n n_patients n_calibration n_effective weighted"
            " reason",
            p_value="of a coverage under the level by chance",
        ),
        _schema(
            *("selective", "tables.selective:selective_table"),
            "How wrong the answered cases are when the least confident go to a reader.",
            "site site_role metric value low high n n_positive n_patients reason",
            n_positive="errors",
        ),
        _schema(
            *("risk_coverage", "tables.selective:risk_coverage_table"),
            "Curves of risk over coverage, thinned to some hundred points a site.",
            "site site_role coverage selective_risk generalized_risk threshold n",
            coverage="share of cases that are answered",
        ),
        _schema(
            *("alarms", "alarms:alarm_table"),
            "Everything that the page might accuse a site of, under one familywise level.",
            "alarm task site site_role value low high against p_value adjusted raised n_patients",
            value="what was seen: sensitivity, specificity, coverage, …",
        ),
        _schema(
            *("differences", "tables.comparison:paired_differences"),
            "The second model minus the first, on the same draws. Where no draw tells them apart,"
            " the interval is that of 0 of the site's patients. Where folds answered it is widened for"
            " the training patients that they share.",
            "split site site_role metric first second difference low high p_value n n_positive"
            " n_patients reason",
        ),
        _schema(
            *("complementary", "operating_points.complementary:complementary_table"),
            "Whether one of two models would catch what the other misses, and what both together do.",
            "task site site_role metric value low high first second n n_positive n_patients reason",
            first="threshold of the first model, by the rule of packages or as stated",
            second="threshold of the second model",
            n="images it rests on: of `caught_by_second` those that the first misses",
            n_positive="of them caught; of `specificity_either` left in peace by both",
        ),
        _schema(
            *("seed_agreement", "tables.seeds:seed_tables"),
            "Whether a method's seeds call a test image alike: shares at each site, pooled for each role.",
            "method site site_role metric seeds value low high n n_patients reason",
            metric="`flips`: images that two seeds call differently; `wrong_where_agreed` and "
            "`wrong_where_flipped`: wrong ones among the others and among these, by the mean over seeds",
        ),
        _schema(
            *("methods", "tables.comparison:compare_methods"),
            "Methods with several seeds against a baseline; intervals are of patients and seeds.",
            "method site site_role metric seeds value seed_sd low high difference difference_low"
            " difference_high p_value n n_patients reason",
            p_value="of the difference, two-sided, for patients and seeds; not corrected",
        ),
    )
}
