"""From a photograph to an answer, as `offsite predict` asks for it."""
