"""LARS against its algorithm written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from batch.trainers.net.lars import DECAY, MOMENTUM, Lars, rate_share  # noqa: E402  after torch
from learners.net.table import FIRST_SUM  # noqa: E402

STEPS, RATE, ROWS = 30, 0.02, 50


def slow(
    layers: list[np.ndarray], slopes: list[list[np.ndarray]], least: list[float]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Algorithm 1 of the paper in float64: layers and sums after all steps."""
    layers = [layer.astype(float) for layer in layers]
    velocities = [np.zeros(layer.shape) for layer in layers]
    sums = [np.full(layer.shape, FIRST_SUM) for layer in layers]
    for step, given in enumerate(slopes):
        rate = RATE * rate_share(step, len(slopes))
        for number, total in enumerate(given):
            layer, mean = layers[number], total / ROWS
            norm = max(np.linalg.norm(layer), least[number])
            local = norm / (np.linalg.norm(mean) + DECAY * norm)
            velocities[number] *= MOMENTUM
            velocities[number] += rate * local * (mean + DECAY * layer)
            layers[number] = layer - velocities[number]
            sums[number] += total**2
    return layers, sums


def test_moves_as_the_algorithm_says() -> None:
    """Layers with weights and one that starts at 0, which counts as a tenth of He's norm."""
    random = np.random.default_rng(1)
    layers = [random.normal(size=(8, 5)), np.zeros((3, 8))]
    slopes = [[random.normal(size=layer.shape) for layer in layers] for _ in range(STEPS)]
    slopes[3] = [np.zeros(layer.shape) for layer in layers]
    expected = slow(layers, slopes, [0.4, 0.1 * 6**0.5])
    made = [torch.tensor(layer, dtype=torch.float32) for layer in layers]
    lars = Lars(made, RATE, STEPS)
    lars.rows = ROWS
    for given in slopes:
        for layer, slope in zip(made, given, strict=True):
            layer.grad = torch.tensor(slope, dtype=torch.float32)
        lars.step()
    for layer, weights, sums in zip(made, *expected, strict=True):
        np.testing.assert_allclose(layer.numpy(), weights, atol=1e-5)
        np.testing.assert_allclose(lars.state[layer]["sum"].numpy(), sums, rtol=1e-5)


def test_the_scale_of_the_slopes_hardly_matters() -> None:
    """A hundred times the slopes is the same step, but for the weight decay."""
    moved = []
    for scale in (1.0, 100.0):
        layer = torch.ones(4, 4)
        lars = Lars([layer], RATE, STEPS)
        layer.grad = scale * torch.eye(4)
        lars.step()
        moved.append(layer)
    np.testing.assert_allclose(*[layer.numpy() for layer in moved], rtol=1e-4)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    """A tenth of the steps up, then down with the square of what is left."""
    shares = [rate_share(step, 100) for step in range(100)]
    assert 9 in (int(np.argmax(shares)), int(np.argmax(shares)) + 1)
    assert 0 < shares[0] < 0.1 + 1e-9
    np.testing.assert_allclose(shares[50], 0.25)
    assert 0 < shares[-1] < 1e-3
