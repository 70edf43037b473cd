"""The flights example with a search of its settings, as its retrains in a year run it."""

from dataclasses import replace

import tidemill as tm
from cli.demo.options import PROJECT_FILE
from tidemill.loading import load_project

SEARCH = tm.Search(trials=4, folds=2, time="2min")

project = replace(load_project(PROJECT_FILE), search=SEARCH)
