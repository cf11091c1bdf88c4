"""Names in any script: fonts are chosen from those installed, and a missing one breaks nothing."""

import re
import warnings

import pytest
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from offsite.evaluation.figures.dots import Dot, dot_strip
from offsite.evaluation.figures.drawing import SANS, families_for, legible, short


def characters(name: str) -> set[int]:
    return set(get_font(findfont(FontProperties(family=[name]))).get_charmap())


def drawn(name: str) -> str:
    dot = Dot(label=name, note="0.50", value=0.5, low=0.4, high=0.6)
    return dot_strip([dot], "Share", "share", limits=(0.0, 1.0)).svg


def test_every_character_that_an_installed_font_has_gets_a_font_that_has_it() -> None:
    usual = set(get_font(findfont(FontProperties(family=list(SANS)))).get_charmap())
    others = {font.name for font in fontManager.ttflist if "Last Resort" not in font.name}
    beyond = {
        name: [code for code in sorted(characters(name) - usual) if chr(code).isprintable()]
        for name in sorted(others)
    }
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
def test_a_name_in_any_script_stands_in_the_figure_as_text_that_can_be_drawn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = drawn(name)
    text = re.search(rf"<text[^>]*>{re.escape(short(name))}</text>", svg)
    assert text is not None
    for family in families_for(name):
        assert family in text.group(0)


def test_latin_names_keep_the_usual_fonts() -> None:
    assert families_for("Sankt Söhne") == list(SANS)


def test_letters_that_no_installed_font_has_are_numbers_and_the_caption_says_so() -> None:
    nowhere = "\U000f1234"  # a private character, which no font defines
    assert legible(f"ward {nowhere}") == r"ward \u{f1234}"
    assert legible("Söhne\u202f& Co") == "Söhne\u202f& Co"
    plain, odd = (
        dot_strip(
            [Dot(label=name, note="0.50", value=0.5, low=0.4, high=0.6)],
            "Share",
            "share",
            limits=(0.0, 1.0),
        )
        for name in ("ward", f"ward {nowhere}")
    )
    assert nowhere not in odd.svg
    assert r"ward \u{f1234}" in odd.svg
    assert nowhere in odd.description  # what is read aloud needs no font
    assert odd.caption.startswith(plain.caption)
    assert "Unicode numbers" in odd.caption
    assert "Unicode numbers" not in plain.caption


def test_a_long_name_of_numbers_is_cut_between_letters() -> None:
    cut = short("\U000f1234" * 9)
    assert cut == r"\u{f1234}" * 3 + "…"
    assert short("a" * 40) == "a" * 27 + "…"
