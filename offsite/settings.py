"""The base of every settings model: unknown keys are refused, values never change afterwards."""

from pydantic import BaseModel, ConfigDict

from offsite.files import digest_of


class Settings(BaseModel):
    """A frozen group of settings; every field carries a description with its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def digest(self) -> str:
        """SHA-256 (hex) of the settings; equal settings have equal digests on every machine."""
        return digest_of(self.model_dump(mode="json"))
