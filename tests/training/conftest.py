"""Lets the room's tests import its small problem by name, in subprocesses too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
