"""The predictions table: what it must hold, and which of its rows may do what."""
