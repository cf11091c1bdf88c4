"""Names of what can be chosen: listed without importing, checked, and the same in a schema."""

import doctest
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from offsite import registry
from offsite.errors import InputError
from offsite.registry import OneOf, Registry


def test_the_examples_hold():
    assert doctest.testmod(registry).failed == 0


def test_listing_names_imports_nothing_of_theirs():
    code = (
        "import sys; from offsite.registry import Registry;"
        "r = Registry('thing', {'a': 'wave:Error'});"
        "assert list(r) == ['a'] and 'a' in r and len(r) == 1 and 'wave' not in sys.modules;"
        "assert r['a'].__module__ == 'wave'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "hint"), [("meen", "Did you mean 'mean'?"), ("zzz", "Known are")])
def test_an_unknown_name_is_refused_with_what_is_known(name, hint):
    pools = Registry("bag pooling", {"mean": "statistics:mean", "median": "statistics:median"})
    with pytest.raises(InputError) as refused:
        pools.named(name)
    assert refused.value.code == "unknown_bag_pooling"
    assert refused.value.remedy.startswith(hint)
    assert refused.value.remedy.endswith("mean, median")


def test_one_of_a_table_is_the_same_to_settings_as_a_literal():
    table, literal = (
        TypeAdapter(Annotated[str, OneOf({"a": 1, "b": 2})]),
        TypeAdapter(Literal["a", "b"]),
    )
    assert table.json_schema() == literal.json_schema()
    assert table.validate_python("b") == "b"
    messages = []
    for adapter in (table, literal):
        with pytest.raises(ValidationError) as refused:
            adapter.validate_python("c")
        messages.append(str(refused.value).split("\n", 1)[1])
    assert messages[0] == messages[1]
