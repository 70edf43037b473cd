"""The flights example with a search of its settings, as its retrains in a year run it."""

import os
from dataclasses import replace

import tidemill as tm
from cli.demo.options import PROJECT_FILE
from tidemill.loading import load_project

WHOLE = tm.Search(trials=4, folds=2, time="2min")
SMALL = tm.Search(families=(tm.LightGBM(leaves=15, rounds=20),), trials=2, folds=2)

SEARCH = WHOLE if os.environ.get("TIDEMILL_TEST_MONTHS") else SMALL

project = replace(load_project(PROJECT_FILE), search=SEARCH)
