"""From a slide to an answer, as `offsite predict` asks for it."""
