"""Names in any script: fonts are chosen from those installed, and a missing one breaks nothing."""

import re
import warnings

import pytest
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from offsite.evaluation.figures.dots import Dot, dot_strip
from offsite.evaluation.figures.fonts import SANS, families_for


def characters(name: str) -> set[int]:
    return set(get_font(findfont(FontProperties(family=[name]))).get_charmap())


def drawn(name: str) -> str:
    dot = Dot(label=name, note="0.50", value=0.5, low=0.4, high=0.6)
    return dot_strip([dot], "Share", "share", mark=None, mark_words="", limits=(0.0, 1.0)).svg


def test_every_character_that_an_installed_font_has_gets_a_font_that_has_it() -> None:
    usual = set(get_font(findfont(FontProperties(family=list(SANS)))).get_charmap())
    others = {font.name for font in fontManager.ttflist if "Last Resort" not in font.name}
    beyond = {name: sorted(characters(name) - usual) for name in sorted(others)}
    having = {name: found for name, found in beyond.items() if found}
    if not having:
        pytest.skip("every installed font has the same characters")
    for found in having.values():
        word = chr(found[len(found) // 2])
        families = families_for(f"a {word}")
        assert families[: len(SANS)] == list(SANS)
        assert any(ord(word) in characters(name) for name in families[len(SANS) :]), word


@pytest.mark.parametrize(
    "name", ["東京", "القاهرة", "Αθήνα", "Київ", "서울", "मुंबई", "𝔄", "\U000e0001"]
)
def test_a_name_in_any_script_stands_in_the_figure_as_text(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = drawn(name)
    assert name in svg
    text = re.search(rf"<text[^>]*>{name}</text>", svg)
    assert text is not None
    for family in families_for(name):
        assert family in text.group(0)


def test_latin_names_keep_the_usual_fonts() -> None:
    assert families_for("Sankt Söhne") == list(SANS)
