"""What names on the command line stand for: a row for each image and for each of its owners."""

import gzip
import os
from pathlib import Path

import pytest

from offsite.errors import InputError, InputErrors
from offsite.files import fingerprint
from offsite.preprocessing.formats.kinds import dicom_series
from offsite.training.prediction.contents import content_of, distinct_siblings
from offsite.training.prediction.contract import Rejected
from offsite.training.prediction.items import item_of
from offsite.workflows.predict.inputs.listing import find_inputs, with_siblings
from offsite.workflows.predict.output.run_record import RunRecord
from offsite.workflows.predict.passage import check_file


def image(path: Path, content: bytes = b"picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cohort(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(("image,patient,site,eye,slide", *rows)) + "\n")
    return path


def test_a_photograph_of_two_patients_is_a_row_for_each(tmp_path: Path) -> None:
    image(tmp_path / "x.png")
    one = cohort(tmp_path / "one.csv", "x.png,alice,s,left,a")
    two = cohort(tmp_path / "two.csv", "x.png,bob,s,left,b")
    inputs = find_inputs([one, two, one])
    assert [item.patient for item in inputs.items] == ["alice", "bob"]
    assert len({item.case for item in inputs.items}) == 2
    assert inputs.repeated == 1
    alone = find_inputs([two])
    assert [item.number for item in inputs.items] == [1, 2]
    assert alone.items[0].case == inputs.items[0].case, "the first keeps the name it has alone"
    spelt = cohort(tmp_path / "spelt.csv", "x.png,alice,s,left,a", "./x.png,bob,s,left,b")
    assert [item.patient for item in find_inputs([spelt]).items] == ["alice", "bob"]


@pytest.mark.parametrize("table_first", [True, False])
def test_what_a_table_says_of_a_file_is_known_in_any_order(
    tmp_path: Path, table_first: bool
) -> None:
    image(tmp_path / "in" / "x.png")
    table = cohort(tmp_path / "c.csv", "in/x.png,alice,s,left,a")
    names = [table, tmp_path / "in"]
    inputs = find_inputs(names if table_first else names[::-1], site="t")
    assert [(i.patient, i.site, i.eye) for i in inputs.items] == [("alice", "s", "left")]
    assert inputs.repeated == 1


def test_one_name_may_stand_for_patients_of_two_sites_and_reaches_no_message(
    tmp_path: Path,
) -> None:
    for name in ("x.png", "y.png"):
        image(tmp_path / name)
    table = cohort(tmp_path / "c.csv", "x.png,smith,s,left,a", "y.png,smith,t,left,b")
    assert [item.site for item in find_inputs([table]).items] == ["s", "t"]
    long = cohort(tmp_path / "long.csv", f"x.png,{'smith' * 99},s,left,a")
    with pytest.raises(InputErrors) as refused:
        find_inputs([long])
    assert "smith" not in str(refused.value)
    assert "row 2" in str(refused.value)


def test_results_of_an_earlier_run_are_no_cases(tmp_path: Path) -> None:
    image(tmp_path / "x.png")
    image(tmp_path / "old" / "cases" / "x-1" / "image.jpg")
    image(tmp_path / ".thumbnail.png")
    RunRecord(tmp_path / "old", {})
    inputs = find_inputs([tmp_path], leave_out=tmp_path / "new")
    assert [item.path.name for item in inputs.items] == ["x.png"]
    assert inputs.ignored == 2
    said = "Left out: 1 folders with results of an earlier run, 1 hidden files"
    assert inputs.left_out_text() == said


@pytest.mark.parametrize("kind", ["pipe", "device", "brackets", "list", "a word", "large"])
def test_what_merely_looks_like_a_record_hides_no_image(tmp_path: Path, kind: str) -> None:
    image(tmp_path / "x.png")
    record = tmp_path / "run.json"
    if kind == "pipe":
        os.mkfifo(record)
    elif kind == "device":
        record.symlink_to("/dev/zero")
    elif kind == "large":
        with record.open("wb") as file:
            file.truncate(1 << 40)
    else:
        words = {"brackets": "[" * 200_000, "list": "[]", "a word": '{"tool": "offsite predict"}'}
        record.write_text(words[kind])
    assert {item.path.name for item in find_inputs([tmp_path]).items} == {"x.png", "run.json"}


@pytest.mark.parametrize("name", ["list.tsv", "list.csv.gz", "List.CSV"])
def test_a_table_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    image(tmp_path / "x.png")
    text = "Image,Patient,Site,Eye\nx.png,p,s,OS\n"
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    else:
        (tmp_path / name).write_text(text.replace(",", "\t") if "tsv" in name else text)
    (item,) = find_inputs([tmp_path / name]).items
    assert (item.path, item.patient, item.eye) == (tmp_path / "x.png", "p", "left")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("x.PNG", "differs in case"),
        ("deep\\y.png", "write slashes"),
        ("cafe\u0301.png", "accented letters"),
        ("z.png", "there is no such file"),
    ],
)
def test_an_image_that_is_called_otherwise_is_a_row_that_says_so(
    tmp_path: Path, written: str, words: str
) -> None:
    for name in ("x.png", "deep/y.png", "caf\u00e9.png"):
        image(tmp_path / name)
    table = cohort(tmp_path / "c.csv", f"{written},p,s,left,a", "x.png,q,s,left,b")
    first, second = find_inputs([table]).items
    assert first.fault is not None
    assert words in first.fault[1]
    assert written not in first.fault[1]
    assert second.fault is None


def test_a_spreadsheet_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "list.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError) as refused:
        find_inputs([tmp_path / "list.xlsx"])
    assert refused.value.code == "spreadsheet"


def test_a_few_links_do_not_make_many_cases(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "outside"
    image(folder / "deep" / "x.png")
    image(outside / "y.png")
    for number in range(5):
        (folder / f"link{number}").symlink_to(folder / "deep")
        (folder / "deep" / f"away{number}").symlink_to(outside)
    inputs = find_inputs([folder])
    assert sorted(item.path.name for item in inputs.items) == ["x.png", "y.png"]
    loop = folder / "deep" / "back"
    loop.symlink_to(folder)
    faults = [item.fault for item in find_inputs([folder]).items if item.fault]
    assert [str(code) for code, _ in faults] == ["folder_loop"]


def test_files_of_one_image_are_one_input_however_they_are_named(tmp_path: Path) -> None:
    paths = [image(tmp_path / name, b"x" * (3 - n)) for n, name in enumerate("abc")]

    def pairs(files: list[Path]) -> list[tuple[Path, ...]]:
        return [tuple(files[:2]), *((path,) for path in files[2:])]

    for names in ([tmp_path], paths):
        inputs = find_inputs(names, group=pairs).items
        assert [item.path.name for item in inputs] == ["a", "c"]
        assert [part.name for part in inputs[0].parts] == ["b"]


def test_a_mirax_slide_is_its_folder_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        image(tmp_path / f"{name}.mrxs", b"the same in every slide")
        image(tmp_path / name / "Data0000.dat", name.encode())
        image(tmp_path / name / "Slidedat.ini")
    items = find_inputs([tmp_path]).items
    assert [item.path.name for item in items] == ["one.mrxs", "two.mrxs"]
    assert content_of(items[0]) != content_of(items[1])
    before = content_of(items[0])
    image(tmp_path / "one" / "Data0000.dat", b"copied to the end")
    assert content_of(items[0]) != before
    (named,) = find_inputs([tmp_path / "two.mrxs"]).items
    assert content_of(named) == content_of(items[1])


def test_copies_of_a_slide_are_one_slide_of_a_patient(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"2")):
        image(tmp_path / f"{name}.svs", content)
    rows = [f"{name}.svs,p,s,,{name}" for name in "abcd"]
    first, *_ = with_siblings(find_inputs([cohort(tmp_path / "c.csv", *rows)])).items
    assert [other.path.name for other in first.siblings] == ["b.svs", "c.svs", "d.svs"]
    assert [other.path.name for other in distinct_siblings(first)] == ["b.svs"]


def test_huge_files_have_their_own_digest_whenever_they_were_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    from offsite import files
    from offsite.training.prediction.contents import sha256_of

    monkeypatch.setattr(files, "_WHOLE_FILE_LIMIT", 4)
    monkeypatch.setattr(files, "_BLOCK", 2)
    one, two = image(tmp_path / "one.svs"), image(tmp_path / "two.svs")
    os.utime(two, (1, 1))
    digests = {sha256_of(item, content_of(item)) for item in map(item_of, (one, two))}
    assert digests == {hashlib.sha256(b"picture").hexdigest()}


def test_a_faulty_row_of_a_worklist_is_a_row_and_the_rest_is_answered(tmp_path: Path) -> None:
    for folder in "ab":
        image(tmp_path / folder / "1.png")
    rows = ["a/1.png,p1,left", "b/1.png,p2,right", "c/1.png,,left", "d/1.png,p4,third", ",p5,"]
    (tmp_path / "list.tsv").write_text(
        "\n".join(["Image,Patient,eye", *rows]).replace(",", "\t") + "\n"
    )
    inputs = find_inputs([tmp_path / "list.tsv"], site="north").items
    assert [item.fault[1] if item.fault else "" for item in inputs] == [
        "",
        "",
        "row 4 of the table: no patient is named",
        "row 5 of the table: 'third' is not an eye",
        "row 6 of the table: no image is named",
    ]
    assert {item.fault[0] for item in inputs if item.fault} == {"faulty_row"}
    assert [item.patient for item in inputs[:2]] == ["p1", "p2"]
    assert {item.site for item in inputs} == {"north"}


def test_a_worklist_needs_the_image_alone(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    (tmp_path / "list.csv").write_text("image\n1.png\nabsent.png\n")
    one, other = find_inputs([tmp_path / "list.csv"], site="north").items
    assert (one.patient, one.site, one.fault) == ("", "north", None)
    assert other.fault is not None
    assert other.fault[0] == "not_found"
    (tmp_path / "list.csv").write_text("file\n1.png\n")
    with pytest.raises(InputError) as refused:
        find_inputs([tmp_path / "list.csv"])
    assert refused.value.code in ("missing_column", "unclear_column")


def test_what_is_no_plain_file_is_a_row_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "memory.dcm").symlink_to("/proc/self/pagemap")
    items = find_inputs([tmp_path], group=dicom_series).items
    codes = set()
    for item in items:
        with pytest.raises(Rejected) as refused:
            check_file(item)
        codes.add(refused.value.code)
        with pytest.raises(OSError, match="not a plain file"):
            fingerprint(item.path)
    assert codes == {"unsupported", "empty_file"}
