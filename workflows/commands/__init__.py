"""The commands of ``offsite``, a module each; heavy imports stand inside the functions."""
