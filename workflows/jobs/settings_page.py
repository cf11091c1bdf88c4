"""Every setting of a job as a page and as a JSON schema, both from the models: one truth."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from offsite.workflows.jobs.configuration import configuration_model
from offsite.workflows.jobs.modalities import OWN

JOBS: dict[str, type[BaseModel]] = {task: configuration_model(task) for task in OWN}
_HEAD = """# Settings

A job is one YAML file; every command takes it. Names are joined by dots, as in
`--set training.fit.epochs=20`. A name that is not here is refused. This page is written by
`offsite workflow settings`, the schema beside the workflow by `offsite workflow schema`.
"""


def page() -> str:
    """Return docs/settings.md."""
    parts = [_HEAD]
    for task, model in JOBS.items():
        parts.append(f"\n## `task: {task}`\n\n| setting | default | meaning |\n|---|---|---|\n")
        parts += [
            f"| `{name}` | {_cell(default)} | {_cell(meaning)} |\n"
            for name, default, meaning in settings_of(model)
        ]
    return "".join(parts)


def schema() -> str:
    """Return the JSON schema (draft 2020-12) of a job's configuration."""
    models = [model.model_json_schema() for model in JOBS.values()]
    definitions: dict[str, Any] = {}
    for model in models:
        definitions |= model.pop("$defs", {})
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of an offsite job",
        "oneOf": models,
        "$defs": definitions,
    }
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of every setting, groups opened."""
    for name, field in model.model_fields.items():
        group = _group(field)
        if group is not None:
            yield from settings_of(group, f"{above}{name}.")
        else:
            yield f"{above}{name}", _default(field), field.description or ""


def _group(field: FieldInfo) -> type[BaseModel] | None:
    kinds = [field.annotation, *get_args(field.annotation)]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return models[0] if len(models) == 1 and field.annotation is models[0] else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return "none"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return f"`{json.dumps(value, default=list, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
