"""A small trained model of slides, made once."""

from tests.workflows.conftest import slide_run as slide_run
