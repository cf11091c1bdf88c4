"""A run that is cut off in mid-epoch, beside one that is not."""

import pytest

from offsite.retina.training import train_retina


def same_bits_after_a_cut(prepared, tmp_path, monkeypatch, given, loader) -> bool:
    """Whether a run cut off in mid-epoch, at a batch of ``loader``, ends with the bits of a whole one."""
    cohort = prepared.split("corran")
    train_retina(cohort, prepared.folder, given, tmp_path / "whole")
    load, later = loader.training_batch, []

    def dies(self, items, epoch, times):
        later.extend([epoch] * (epoch == 1))
        if len(later) == 2:
            raise KeyboardInterrupt
        return load(self, items, epoch, times)

    monkeypatch.setattr(loader, "training_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        train_retina(cohort, prepared.folder, given, tmp_path / "cut")
    monkeypatch.undo()
    train_retina(cohort, prepared.folder, given, tmp_path / "cut")
    whole, cut = ((tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "cut"))
    return whole == cut
