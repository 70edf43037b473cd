"""Lets the tests of explanations import the module beside them (the test tree has no packages)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
