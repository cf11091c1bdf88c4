"""The methods that can be compared, as data: the same network, other losses and batches."""

from typing import Literal

from pydantic import Field

from preprocessing.settings import Settings

BatchName = Literal["random", "class_aware"]
MethodName = Literal["sc_mil", "cross_entropy", "cross_entropy_balanced", "sc_mil_random_batches"]


class Method(Settings):
    """What sets a method apart from the others."""

    contrast: bool = Field(description="Supervised contrast between bags, handed over")
    batches: BatchName = Field(description="How batches are drawn")


METHODS: dict[str, Method] = {
    "sc_mil": Method(contrast=True, batches="class_aware"),
    "sc_mil_random_batches": Method(contrast=True, batches="random"),
    "cross_entropy": Method(contrast=False, batches="random"),
    "cross_entropy_balanced": Method(contrast=False, batches="class_aware"),
}
