import pytest

from offsite.errors import InputError
from offsite.training.cells import Cell, divisions_of, experiment_cells

SITES = ("a", "b", "c")


def leave_one_out():
    return experiment_cells(("erm", "deco"), divisions_of("leave_one_site_out", SITES), (0, 1))


def test_leave_one_site_out_holds_each_site_out_once_for_each_method_and_seed():
    cells = leave_one_out()
    assert len({cell.name for cell in cells}) == 12
    assert [cell.held_out for cell in cells[:4]] == [("a",), ("a",), ("b",), ("b",)]


def test_a_part_of_the_cells_compares_like_with_like():
    half = [cell.method for cell in leave_one_out()[:6]]
    assert half.count("erm") == half.count("deco")


def test_single_source_holds_all_other_sites_out():
    assert divisions_of("single_source", SITES) == [("b", "c"), ("a", "c"), ("a", "b")]


@pytest.mark.parametrize("protocol", ["leave_one_site_out", "single_source"])
def test_one_site_has_no_protocol(protocol):
    with pytest.raises(InputError) as error:
        divisions_of(protocol, ("a",))
    assert error.value.code == "one_site"


def test_a_name_is_a_path_whatever_the_sites_are_called():
    cell = Cell("erm", ("../x y", "b"), 3)
    assert cell.name == "erm/without-.._x_y+b/seed-3"
    assert cell.options() == "--method erm --seed 3 --held-out '../x y' --held-out b"
    assert Cell("erm", (), 0).division == "all-sites"
