"""River estimators that the tests declare: each function makes a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from river import (
    compose,
    dummy,
    ensemble,
    facto,
    feature_extraction,
    forest,
    imblearn,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    rules,
    tree,
)


def trees() -> Any:
    """A Hoeffding tree that looks for splits early."""
    return tree.HoeffdingTreeClassifier(grace_period=50)


def linear() -> Any:
    """A scaled linear regression."""
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LinearRegression())


def logistic() -> Any:
    """A scaled logistic regression, which takes weights."""
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())


def softmax() -> Any:
    """A scaled softmax regression, which takes no weights."""
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.SoftmaxRegression())


def classifiers() -> dict[str, Callable[[], Any]]:
    """What states are tested on: a broad list of River's classifiers."""
    scaled = preprocessing.StandardScaler
    small = {"n_models": 3, "seed": 1}
    lazy = neighbors.LazySearch(window_size=100)
    return {
        "logistic": logistic,
        "ftrl": lambda: scaled() | linear_model.LogisticRegression(optim.FTRLProximal()),
        "adam": lambda: scaled() | linear_model.LogisticRegression(optim.Adam()),
        "alma": lambda: scaled() | linear_model.ALMAClassifier(),
        "passive_aggressive": linear_model.PAClassifier,
        "perceptron": linear_model.Perceptron,
        "softmax": softmax,
        "union": lambda: (scaled() + preprocessing.MinMaxScaler()) | linear_model.Perceptron(),
        "hoeffding_tree": trees,
        "adaptive_tree": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1),
        "extremely_fast_tree": lambda: tree.ExtremelyFastDecisionTreeClassifier(grace_period=50),
        "gradient_tree": tree.SGTClassifier,
        "arf": lambda: forest.ARFClassifier(**small),
        "amf": lambda: forest.AMFClassifier(n_estimators=2, seed=1),
        "srp": lambda: ensemble.SRPClassifier(**small),
        "leveraging": lambda: ensemble.LeveragingBaggingClassifier(logistic(), **small),
        "adwin_bagging": lambda: ensemble.ADWINBaggingClassifier(trees(), **small),
        "adwin_boosting": lambda: ensemble.ADWINBoostingClassifier(trees(), **small),
        "bole": lambda: ensemble.BOLEClassifier(model=trees(), **small),
        "gaussian": naive_bayes.GaussianNB,
        "bernoulli": naive_bayes.BernoulliNB,
        "neighbors": lambda: neighbors.KNNClassifier(engine=lazy.clone()),
        "factorization": lambda: facto.FMClassifier(seed=1),
        "one_against_rest": lambda: multiclass.OneVsRestClassifier(logistic()),
        "sampler": lambda: imblearn.RandomUnderSampler(
            logistic(), desired_dist={False: 0.5, True: 0.5}, seed=1
        ),
        "kernel": lambda: feature_extraction.RBFSampler(seed=1) | linear_model.Perceptron(),
        "last_label": dummy.NoChangeClassifier,
    }


def regressions() -> dict[str, Callable[[], Any]]:
    """What states are tested on: River's regressions."""
    lazy = neighbors.LazySearch(window_size=100)
    return {
        "linear": linear,
        "bayesian": linear_model.BayesianLinearRegression,
        "passive_aggressive": linear_model.PARegressor,
        "hoeffding_tree": lambda: tree.HoeffdingTreeRegressor(grace_period=50),
        "adaptive_tree": lambda: tree.HoeffdingAdaptiveTreeRegressor(grace_period=50, seed=1),
        "arf": lambda: forest.ARFRegressor(n_models=3, seed=1),
        "rules": rules.AMRules,
        "neighbors": lambda: neighbors.KNNRegressor(engine=lazy.clone()),
        "scaled_target": lambda: preprocessing.TargetStandardScaler(regressor=linear()),
        "weighted": lambda: ensemble.EWARegressor([linear(), linear_model.PARegressor()]),
    }
