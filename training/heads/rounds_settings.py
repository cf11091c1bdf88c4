"""Settings of a linear head learnt in rounds (`offsite.training.heads.rounds`)."""

from pydantic import Field

from offsite.settings import Settings


class RichSettings(Settings):
    """How a head is learnt in rounds."""

    rounds: int = Field(default=3, ge=2, le=8, description="Heads whose logits are averaged")
    passes: int = Field(default=40, ge=1, description="Passes over the training rows, each round")
    batch_size: int = Field(default=64, ge=8, description="Rows of a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="Of AdamW")
    weight_decay: float = Field(default=1e-4, ge=0, description="Of AdamW")
