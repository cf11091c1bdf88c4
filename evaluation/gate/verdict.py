"""What the gate says: a sentence for every rule, and a written reason where it was overridden."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offsite.errors import InputError

_SHORTEST_REASON = 20


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """One rule, met or not.

    Attributes
    ----------
    rule : str
        Name of the rule.
    passed : bool
        Whether every site meets it.
    sentence : str
        What was found; a refusal names every site at fault and what is missing.
    sites : tuple of str
        Sites at fault.
    """

    rule: str
    passed: bool
    sentence: str
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """What the gate says of one candidate.

    Attributes
    ----------
    rules : tuple of RuleVerdict
        In the order of the rules file.
    settings_digest : str
        Digest of the rules that were applied.
    left_out : mapping of str to str
        Sites that were not judged, and why.
    override : str
        The written reason for promoting a refused candidate; empty where nothing was overridden.
    """

    rules: tuple[RuleVerdict, ...]
    settings_digest: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    override: str = ""

    @property
    def passed(self) -> bool:
        """Whether every rule is met."""
        return all(rule.passed for rule in self.rules)

    @property
    def allowed(self) -> bool:
        """Whether the candidate may be promoted: by the rules, or by an override."""
        return self.passed or bool(self.override)

    def overridden(self, why: str) -> "GateVerdict":
        """The same verdict with a written reason for promoting the refused candidate.

        Raises
        ------
        InputError
            The reason is not a sentence, or there is nothing to override.
        """
        if self.passed:
            raise InputError("the candidate passes", remedy="Promote it without an override")
        if len(why.strip()) < _SHORTEST_REASON:
            raise InputError(
                "an override needs a written reason",
                remedy=f"Write who decided what and why, in {_SHORTEST_REASON} letters or more",
                code="override_reason",
            )
        return replace(self, override=why.strip())

    def tags(self) -> dict[str, str]:
        """The verdict as tags of a model version."""
        word = "passed" if self.passed else "overridden" if self.override else "refused"
        tags = {"gate.verdict": word, "gate.rules": self.settings_digest}
        for number, rule in enumerate(self.rules, start=1):
            said = "met" if rule.passed else "not met"
            tags[f"gate.{number:02d}.{rule.rule}"] = f"{said}: {rule.sentence}"
        for site, why in self.left_out.items():
            tags[f"gate.left_out.{len(tags):02d}"] = f"{site}: {why}"
        if self.override:
            tags["gate.override"] = self.override
        return tags
