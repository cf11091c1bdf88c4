"""Tables that people bring: one strict reader of their files, names and words."""
