import pytest

from offsite.errors import InputError
from offsite.preprocessing.slides.scale import resolve_scale

FULL = {
    "openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25", "aperio.MPP": "0.26",
    "tiff.XResolution": "40000", "tiff.YResolution": "40000", "tiff.ResolutionUnit": "centimeter",
}  # fmt: skip


def without(*keys: str) -> dict[str, str]:
    return {key: value for key, value in FULL.items() if not key.startswith(keys)}


def test_sources_come_in_their_order():
    assert resolve_scale(FULL, override=0.3).source == "override"
    assert resolve_scale(FULL).source == "openslide"
    vendor = resolve_scale(without("openslide"))
    assert (vendor.source, vendor.mpp) == ("vendor:aperio.MPP", 0.26)
    tag = resolve_scale(without("openslide", "aperio"))
    assert (tag.source, tag.mpp) == ("tiff", 0.25)


def test_each_unit_and_vendor_is_understood():
    inch = {"tiff.XResolution": "50800", "tiff.YResolution": "50800", "tiff.ResolutionUnit": "inch"}
    assert resolve_scale(inch).mpp == pytest.approx(0.5)
    philips = {"philips.DICOM_PIXEL_SPACING": '"0.000226891" "0.000226907"'}
    assert resolve_scale(philips).mpp == pytest.approx(0.2269, abs=1e-4)
    hamamatsu = {"hamamatsu.XResolution": "43478", "hamamatsu.YResolution": "43478"}
    assert resolve_scale(hamamatsu).mpp == pytest.approx(0.23, abs=1e-4)
    assert resolve_scale({"aperio.MPP": "0,2520"}).mpp == 0.252  # a comma, as some locales write


@pytest.mark.parametrize(
    ("properties", "override", "code"),
    [
        ({}, None, "mpp_missing"),
        ({"openslide.objective-power": "40"}, None, "mpp_missing"),  # never guessed from it
        ({"openslide.mpp-x": "nan", "openslide.mpp-y": "nan"}, None, "mpp_missing"),
        ({"openslide.mpp-x": "0.00499", "openslide.mpp-y": "0.00499"}, None, "mpp_implausible"),
        ({"openslide.mpp-x": "0", "openslide.mpp-y": "0.25"}, None, "mpp_implausible"),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.27"}, None, "mpp_anisotropic"),
        (FULL, 250.0, "mpp_implausible"),
    ],
)
def test_a_scale_that_cannot_be_trusted_is_refused(properties, override, code):
    with pytest.raises(InputError) as caught:
        resolve_scale(properties, override=override, file="a.svs")
    assert caught.value.code == code
    assert "column 'mpp'" in caught.value.remedy


def test_a_wrong_scale_is_not_passed_over_for_the_next():
    wrong = FULL | {"openslide.mpp-x": "0.0025", "openslide.mpp-y": "0.0025"}
    with pytest.raises(InputError, match="not plausible"):
        resolve_scale(wrong)
    assert resolve_scale(wrong, override=0.25).mpp == 0.25


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels SizeX="9" SizeY="7" PhysicalSizeX="4" PhysicalSizeY="4"/></Image>'
    '<Image ID="Image:1"><Pixels SizeX="900" SizeY="700" PhysicalSizeX="250" PhysicalSizeXUnit="nm"'
    ' PhysicalSizeY="0.00025" PhysicalSizeYUnit="mm"/></Image></OME>'
)


def test_the_scale_that_ome_xml_alone_states_is_that_of_the_picture():
    """Of several images in one file, a macro among them, the one of this size counts."""
    properties = {
        "tiff.ImageDescription": OME, "openslide.level[0].width": "900",
        "openslide.level[0].height": "700",
    }  # fmt: skip
    scale = resolve_scale(properties)
    assert (scale.mpp, scale.source) == (pytest.approx(0.25), "ome")


@pytest.mark.parametrize(
    ("further", "words"),
    [
        ({"aperio.AppMag": "40"}, "magnification of 40"),  # half off
        ({"aperio.AppMag": "10"}, "magnification of 10"),
        ({"tiff.XResolution": "40000", "tiff.YResolution": "40000",
          "tiff.ResolutionUnit": "centimeter"}, r"0.25 um per px \(tiff\)"),
        ({"tiff.ImageDescription": OME}, r"4 um per px \(ome\)"),
    ],
)  # fmt: skip
def test_a_file_that_states_two_scales_is_refused(further, words):
    stated = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5", "aperio.MPP": "0.5"}
    assert resolve_scale(stated | {"aperio.AppMag": "20"}).mpp == 0.5
    with pytest.raises(InputError, match=f"contradicts itself: 0.5 um.*{words}") as caught:
        resolve_scale(stated | further)
    assert caught.value.code == "mpp_contradicted"
    assert "column 'mpp'" in caught.value.remedy
    assert resolve_scale(stated | further, override=0.25).mpp == 0.25  # a person decides


def test_what_no_scanner_gives_contradicts_nothing():
    """96 dots per inch, which programs write where nobody asked, and a power of no lens."""
    stated = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25", "aperio.AppMag": "0",
              "tiff.XResolution": "96", "tiff.YResolution": "96", "tiff.ResolutionUnit": "inch"}  # fmt: skip
    assert resolve_scale(stated).mpp == 0.25
    mirax = {
        "openslide.mpp-x": "0.243",
        "openslide.mpp-y": "0.243",
        "openslide.objective-power": "20",
    }
    assert resolve_scale(mirax).mpp == 0.243  # a lens is not a scan: only Aperio's figure is one
