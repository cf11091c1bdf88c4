"""The modalities that come with offsite, by the room of each; nothing of them is imported here."""

from offsite.registry import Registry
from offsite.training.steps import Step

GROUP = "offsite.modalities"
"""Entry points by which another package brings a modality; the name is a job's ``task``."""

ROOMS = {"pathology": "offsite.pathology", "retina": "offsite.retina"}
STEPS: Registry[tuple[Step, ...]] = Registry(
    "modality", {name: f"{room}.steps:STEPS" for name, room in ROOMS.items()}
)
"""The stages of each from images to what its models read, light enough for a help text."""
