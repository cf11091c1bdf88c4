"""The examples in the docstrings run."""

import doctest
import importlib

import pytest

MODULES = [
    "schedules", "fit.swad", "samplers.shares", "losses.class_weights", "trunk.network", "trunk.settings", "heads.sums", "heads.refit",
    "trunk.reading",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(f"offsite.training.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
