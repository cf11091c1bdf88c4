"""Which average of the weights the settings ask for."""

from offsite.training.fit.averaging import ExponentialAverage, NoAverage, WeightAverage
from offsite.training.fit.settings import FitSettings
from offsite.training.fit.swad import ValleyAverage


def weight_average(settings: FitSettings) -> WeightAverage:
    """Return the average that the settings ask for."""
    if settings.averaging == "ema":
        return ExponentialAverage(settings.ema_decay)
    if settings.averaging == "swad":
        return ValleyAverage(
            settings.swad_by,
            settings.swad_converged,
            settings.swad_patience,
            settings.swad_tolerance,
            passed_over=sum(not settings.selectable(epoch) for epoch in range(settings.epochs)),
        )
    return NoAverage()
