"""YAML that would be read as something else is refused, with its file and row."""

import pytest

from offsite.errors import InputError
from offsite.yaml_files import parse_yaml


@pytest.mark.parametrize(
    ("text", "code", "row"),
    [
        ("splits: {held_out_sites: [c]}\ncells: {}\nsplits: {val: 0.2}\n", "key_twice", 3),
        ("a:\n  b: 1\n  b: 2\n", "key_twice", 3),
        ("sites:\n- no\n- 007\n", "put_in_quotes", 3),
        ("a: 1\nno: 2\n", "put_in_quotes", 2),
        ("day: 2024-05-01\n", "put_in_quotes", 1),
        ("[" * 20_000, "not_yaml", None),
        ("a: !!python/object:os.system {}\n", "not_yaml", 1),
        ("a: 1\n---\na: 2\n", "not_yaml", 2),
    ],
)
def test_a_fault_names_file_and_row(text: str, code: str, row: int | None) -> None:
    with pytest.raises(InputError) as refused:
        parse_yaml(text, "job.yaml")
    assert (refused.value.code, refused.value.file) == (code, "job.yaml")
    assert row is None or refused.value.row == row


def test_merged_keys_may_be_overridden() -> None:
    merged = parse_yaml("base: &b {x: 1, y: 2}\nother: {<<: *b, x: 3}\n")
    assert merged["other"] == {"x": 3, "y": 2}
