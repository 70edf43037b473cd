"""The names that a River state may hold: nothing else is ever looked up or rebuilt."""

from __future__ import annotations

import importlib
import inspect
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType

from tidemill.errors import ArtifactError

# Packages of River that compute on what they are given; datasets, streams and the like do not.
_PACKAGES = frozenset(
    "_river_rust anomaly base cluster compose covariance drift dummy ensemble facto "
    "feature_extraction feature_selection forest imblearn linear_model metrics model_selection "
    "multiclass multioutput naive_bayes neighbors optim preprocessing proba rules sketch stats "
    "tree utils".split()
)
_OTHERS = {
    "builtins": frozenset({"bool", "dict", "float", "int", "list", "set", "str", "tuple"}),
    "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque"}),
    "copy": frozenset({"copy", "deepcopy"}),
    "math": frozenset({"exp", "log", "log2", "sqrt"}),
    "random": frozenset({"Random"}),
    "statistics": frozenset({"NormalDist"}),
}
# Its vertices keep a set on their class: no state of one estimator could hold that.
_REFUSED = ("river.neighbors.ann",)


def is_allowed(module: str, name: str) -> bool:
    """Whether a state may name this."""
    if module in _OTHERS:
        return name in _OTHERS[module]
    parts = module.split(".")
    inside = len(parts) > 1 and parts[0] == "river" and parts[1] in _PACKAGES
    return inside and not module.startswith(_REFUSED) and "<" not in name


def named(module: str, name: str) -> object:
    """The class or function of this name. Raises ArtifactError for one that is not allowed."""
    if not is_allowed(module, name):
        raise ArtifactError(f"River state: found the name {module}.{name}; allowed: River's own")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = inspect.getattr_static(found, part)
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
    except (ImportError, AttributeError, ValueError) as error:
        raise ArtifactError(f"River state: {error}") from error
    if not isinstance(found, (type, FunctionType, BuiltinFunctionType)):
        raise ArtifactError(f"River state: found {module}.{name}, neither class nor function")
    if (found.__module__, found.__qualname__) != (module, name):
        raise ArtifactError(f"River state: found {module}.{name}, imported from elsewhere")
    return found


def method(owner: object, name: str) -> object:
    """A method of one of River's objects, bound. Raises ArtifactError for anything else."""
    kind = type(owner)
    found = None if name.startswith("__") else inspect.getattr_static(kind, name, None)
    rivers = kind.__module__.startswith("river.") and is_allowed(kind.__module__, kind.__qualname__)
    if not rivers or not isinstance(found, (FunctionType, MethodDescriptorType)):
        raise ArtifactError(f"River state: found no method {name} of {kind.__qualname__}")
    return found.__get__(owner, kind)
