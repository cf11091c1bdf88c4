"""Cases of hospitals that were never there, read by a champion and by candidates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from offsite.evaluation.gate.planning.scenario import Candidate, Scenario
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.resampling import generator_of
from offsite.evaluation.statistics.sites import Sites

NEGATIVE, POSITIVE = "negative", "positive"
CLASSES = (NEGATIVE, POSITIVE, "nobody")


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A candidate of one draw.

    Attributes
    ----------
    candidate : str
        Its name.
    champion, tested : Sites
        The test rows, as the champion and as the candidate read them.
    every : Sites
        All rows as the candidate reads them, validation rows too.
    """

    candidate: str
    champion: Sites
    tested: Sites
    every: Sites


class Simulator:
    """Draws of one scenario: the same hospitals and patients, with other truths and scores in each.

    Scores are normal with a variance of 1 in each class (the binormal model). Models' scores of a
    case are correlated within its class. Probabilities are those by Bayes' rule for the model's
    separation on validation cases, and so true of a model that keeps it.

    Parameters
    ----------
    scenario : Scenario
        What is drawn.
    settings : EvaluationSettings
        Of the tables that are made of it.
    classes : int
        Two; or three, of which the last is nobody's: tasks have metrics of their own only there.
    """

    def __init__(self, scenario: Scenario, settings: EvaluationSettings, classes: int = 2) -> None:
        self.scenario, self._settings = scenario, settings
        self._classes = CLASSES[:classes]
        table, self._test = _table(scenario)
        self._site_of = pd.factorize(table["site"])[0]
        nothing = Predictions(
            table=table,
            classes=self._classes,
            probabilities=np.zeros((len(table), classes)),
            labels=np.zeros(len(table), dtype=np.int64),
        )
        self._all = Sites.of(nothing, settings)
        self._tested = Sites.of(nothing.select(self._test), settings)

    def draw(self, seed: int, number: int) -> Iterator[Drawn]:
        """The candidates of one draw, which share its cases."""
        scenario, rows = self.scenario, len(self._test)
        generator = generator_of(seed, "plan", str(number))
        # How much further apart than elsewhere each site holds its cases.
        apart = scenario.spread * generator.standard_normal(int(self._site_of.max()) + 1)
        labels = (generator.random(rows) < scenario.prevalence).astype(np.int64)
        noise, other = generator.standard_normal(rows), generator.standard_normal(rows)
        # Validation cases are of many sites together.
        apart = np.where(self._test, apart[self._site_of], 0.0)
        usual, own = scenario.separation, scenario.correlation
        # Each draw has bootstrap draws of its own too.
        settings = self._settings.model_copy(update={"seed": number})
        champion = Candidate(validation=usual, sites=usual)
        positive = self._positive(labels, apart, noise, champion)
        first = self._sites(labels, positive, settings, self._test)
        noise = own * noise + np.sqrt(1 - own**2) * other
        for name, candidate in scenario.candidates().items():
            positive = self._positive(labels, apart, noise, candidate)
            yield Drawn(
                candidate=name,
                champion=first,
                tested=self._sites(labels, positive, settings, self._test),
                every=self._sites(labels, positive, settings),
            )

    def _positive(
        self, labels: np.ndarray, apart: np.ndarray, noise: np.ndarray, model: Candidate
    ) -> np.ndarray:
        """Probability of the positive class, N, from truths and the model's noise."""
        between = model.validation
        scores = np.where(self._test, model.sites + apart, between) * labels + noise
        return expit(between * scores - between**2 / 2 + logit(self.scenario.prevalence))

    def _sites(
        self,
        labels: np.ndarray,
        positive: np.ndarray,
        settings: EvaluationSettings,
        among: np.ndarray | None = None,
    ) -> Sites:
        """All rows, or those among them, as the tables of an evaluation read them."""
        rows = slice(None) if among is None else among
        known = self._all if among is None else self._tested
        columns = [1 - positive[rows], positive[rows], np.zeros(len(positive[rows]))]
        names = pd.Categorical.from_codes(labels[rows], categories=pd.Index(self._classes))
        read = replace(
            known.predictions,
            table=known.predictions.table.assign(label=names),
            probabilities=np.stack(columns[: len(self._classes)], axis=1),
            labels=labels[rows],
        )
        return known.with_rows(read, settings)


def _table(scenario: Scenario) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of every draw but for their truth, and which of them are judged."""
    training, patients = scenario.training_sites, scenario.patients
    sites = [(f"hospital {number + 1:03d}", number < training) for number in range(scenario.sites)]
    validation = scenario.validation or scenario.sites * patients
    home = [site for site, trained in sites if trained] or ["trained elsewhere"]
    site = [name for name, _ in sites for _ in range(patients)]
    role = [trained for _, trained in sites for _ in range(patients)]
    site += [home[row % len(home)] for row in range(validation)]
    role += [True] * validation
    test = np.arange(len(site)) < scenario.sites * patients
    names = [f"case {row:07d}" for row in range(len(site))]
    columns = {
        "image": names,
        "patient": names,
        "site": site,
        "site_role": np.where(role, "training", "held_out"),
        "split": np.where(test, "test", "val"),
        "label": NEGATIVE,
    }
    return pd.DataFrame(columns), test
