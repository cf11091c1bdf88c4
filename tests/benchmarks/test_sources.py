"""The clinics of the trial over the number of sources: what differs between them, and nothing else."""

import evidence_sources
import pytest
from retina_synthetic import EVEN


@pytest.mark.parametrize("sources", [2, 4, 8])
def test_the_new_hospital_has_the_cameras_of_the_others_and_their_patients_the_other_way_round(
    sources,
):
    made = evidence_sources.clinics(sources, 1.0)
    old, new = made[:sources], made[sources:]
    assert len({clinic.camera.digest() for clinic in old}) == sources
    assert [clinic.camera for clinic in new] == [clinic.camera for clinic in old]
    for number in range(0, sources, 2):
        assert new[number].prevalence == old[number + 1].prevalence != old[number].prevalence
        assert new[number + 1].prevalence == old[number].prevalence


def test_without_a_lean_every_clinic_sees_all_stages_alike():
    for clinic in evidence_sources.clinics(4, 0.0):
        assert clinic.prevalence == pytest.approx(EVEN)
    halfway = evidence_sources.clinics(2, 0.5)[0].prevalence
    assert halfway[0] == pytest.approx((0.2 + 0.7) / 2)


def test_hard_photographs_differ_by_blur_and_noise_alone_and_the_first_cells_are_found_again():
    for easy, hard in zip(
        evidence_sources.clinics(4, 1.0), evidence_sources.clinics(4, 1.0, True), strict=True
    ):
        assert easy.prevalence == hard.prevalence
        blurred = easy.camera.model_copy(update=evidence_sources.HARD)
        assert blurred == hard.camera != easy.camera
    assert evidence_sources.hard_of({"hard": True})
    assert not evidence_sources.hard_of({"seed": 90})
