"""Estimators of the River library as experts, with states that hold no code."""
