"""Utility-based perturbed gradient descent: published vectors, hand-made ones, and a second way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from clbench.errors import UnavailableError
from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams
from clbench_streaming.upgd import Upgd, UpgdParams

W = {"w": torch.tensor([1.0, -2.0])}
GRADIENTS = [{"w": torch.tensor(values)} for values in ([0.5, 0.25], [0.5, 0.25], [-0.2, 0.1])]
SHAPES = {"W": (3, 4), "b": (3,), "K": (2, 1, 3, 3)}


def _drawn(count: int) -> list[dict[str, Tensor]]:
    drawing = torch.Generator().manual_seed(5)
    return [
        {name: torch.randn(shape, generator=drawing) for name, shape in SHAPES.items()}
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[0.9500023, -2.0000011], [0.9002979, -2.0001299], [0.9184454, -2.0003736]]),
        (
            {"step_factor": 2.0},
            [[0.9000045, -2.0000023], [0.8006831, -2.0002599], [0.8369476, -2.0007471]],
        ),
        (
            {"scaling": "local"},
            [[0.9665119, -2.0082560], [0.9331023, -2.0164732], [0.9456697, -2.0194655]],
        ),
    ],
)
def test_three_steps_without_noise_are_those_of_the_source(
    feed: Any, settings: dict[str, Any], expected: list[list[float]]
) -> None:
    params = UpgdParams(beta_utility=0.9, noise_std=0.0, **settings)

    after = feed(Upgd, params, W, GRADIENTS)

    actual = torch.stack([weights["w"] for weights in after])
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=0, atol=1e-6)


def _slowly(
    params: UpgdParams, initial: dict[str, Tensor], gradients: list[Any], xi: Tensor, alpha: float
) -> dict[str, Tensor]:
    """The same rule tensor by tensor, in double precision."""
    p = {name: tensor.double() for name, tensor in initial.items()}
    U = {name: torch.zeros_like(tensor) for name, tensor in p.items()}
    beta, sigma = params.beta_utility, params.noise_std
    for t, gradient in enumerate(gradients, start=1):
        g = {name: tensor.double() for name, tensor in gradient.items()}
        drawn = torch.split(xi[t - 1].double(), [tensor.numel() for tensor in p.values()])
        b = 1 - beta**t
        U = {name: beta * U[name] + (1 - beta) * -g[name] * p[name] for name in p}
        eta = max(u.max() for u in U.values())
        if params.max_over == "corrected":
            eta = eta / b
        for name, flat in zip(p, drawn, strict=True):
            u = U[name] / b
            scaled = u / eta if params.scaling == "global" else u / u.norm(dim=-1, keepdim=True)
            useful = torch.sigmoid(scaled)
            if name == "K" and params.kernel_average == "entire":
                useful = useful.mean((2, 3), keepdim=True)
            if name == "K" and params.kernel_average == "column":
                useful = useful.mean(2, keepdim=True)
            if name == "K" and params.kernel_average == "convex":
                useful = 0.8 * useful + 0.2 * useful.mean((2, 3), keepdim=True)
            S = {
                "constant": torch.ones(()),
                "weight-norm": p[name].norm() + 1e-8,
                "grad-norm": g[name].norm() + 1e-8,
                "ratio-norm": (g[name].norm() + 1e-8) / (p[name].norm() + 1e-8),
            }[params.noise_scale]
            n = sigma * S * flat.view(SHAPES[name])
            change = {
                "both": (g[name] + n) * (1 - useful),
                "noise": g[name] + n * (1 - useful),
                "gradient": g[name] * (1 - useful) + n,
            }[params.gate]
            shrunk = p[name] * (1 - alpha * params.weight_decay)
            p[name] = shrunk - params.step_factor * alpha * change
    return p


@pytest.mark.parametrize(
    "settings",
    [
        {"gate": gate, "noise_scale": scale}
        for gate in ("both", "noise", "gradient")
        for scale in ("constant", "weight-norm", "grad-norm", "ratio-norm")
    ]
    + [{"kernel_average": kind, "step_factor": 2.0} for kind in ("entire", "column", "convex")]
    + [
        {"scaling": "local"},
        {"scaling": "local", "gate": "noise", "kernel_average": "column"},
        {"max_over": "corrected"},
        {"beta_utility": 0.0},
        {"noise_std": 0.0, "gate": "gradient"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_five_steps_are_those_of_the_rule_written_tensor_by_tensor(
    feed: Any, noise: Any, settings: dict[str, Any]
) -> None:
    values = {"beta_utility": 0.9, "noise_std": 0.3, "weight_decay": 0.2} | settings
    params = UpgdParams(**values)
    initial, *gradients = _drawn(6)

    after = feed(Upgd, params, initial, gradients)[-1]

    expected = _slowly(params, initial, gradients, noise(5, 33), alpha=0.1)
    for name, tensor in after.items():  # five steps of float32 against float64
        torch.testing.assert_close(tensor, expected[name].float(), rtol=1e-5, atol=2e-6)


def _kernel_gates(feed: Any, kernel_average: str) -> Tensor:
    """The gates of a (2, 1, 3, 3) tensor whose first step would be -1 everywhere."""
    arguments = torch.arange(18.0).view(2, 1, 3, 3) / 17
    params = UpgdParams(beta_utility=0.0, noise_std=0.0, kernel_average=kernel_average)
    initial = {"K": -arguments}  # with the gradient 1 the utility is the argument, eta is 1
    (after,) = feed(Upgd, params, initial, [{"K": torch.ones(2, 1, 3, 3)}], learning_rate=1.0)
    gates: Tensor = initial["K"] - after["K"]
    return gates


def test_gates_of_kernels_are_averaged_after_the_sigmoid(feed: Any) -> None:
    own = 1 - torch.sigmoid(torch.arange(18.0).view(2, 1, 3, 3) / 17)
    first, second = own[0, 0].sum() / 9, own[1, 0].sum() / 9
    columns = (own[:, :, 0] + own[:, :, 1] + own[:, :, 2]) / 3  # (2, 1, width)

    none, entire, column, convex = (
        _kernel_gates(feed, kind) for kind in ("none", "entire", "column", "convex")
    )

    close = {"rtol": 0, "atol": 1e-6}  # differences of float32 numbers near 1
    torch.testing.assert_close(none, own, **close)
    torch.testing.assert_close(entire[0], first.expand(1, 3, 3), **close)
    torch.testing.assert_close(entire[1], second.expand(1, 3, 3), **close)
    for row in range(3):
        torch.testing.assert_close(column[:, :, row], columns, **close)
    torch.testing.assert_close(convex, 0.8 * own + 0.2 * entire, **close)


def test_tensors_of_other_dimensions_keep_their_own_gates(feed: Any) -> None:
    initial, gradient = _drawn(2)

    own, averaged = (
        feed(Upgd, UpgdParams(noise_std=0.0, kernel_average=kind), initial, [gradient])[0]
        for kind in ("none", "entire")
    )

    assert torch.equal(own["W"], averaged["W"])
    assert torch.equal(own["b"], averaged["b"])
    assert not torch.equal(own["K"], averaged["K"])


@pytest.mark.parametrize("scaling", ["global", "local"])
def test_traces_of_zeros_give_gates_of_a_half(feed: Any, scaling: Any) -> None:
    initial = {"w": torch.zeros(2)}
    params = UpgdParams(noise_std=0.0, scaling=scaling)

    (after,) = feed(Upgd, params, initial, [{"w": torch.tensor([1.0, -3.0])}])

    torch.testing.assert_close(after["w"], torch.tensor([-0.05, 0.15]))


@pytest.mark.parametrize("max_over", ["raw", "corrected"])
def test_where_the_greatest_utility_is_zero_harmful_weights_move_fully(
    feed: Any, max_over: Any
) -> None:
    initial = {"w": torch.tensor([0.0, 1.0])}
    params = UpgdParams(noise_std=0.0, max_over=max_over)

    (after,) = feed(Upgd, params, initial, [{"w": torch.tensor([1.0, 3.0])}])

    torch.testing.assert_close(after["w"], torch.tensor([-0.05, 0.7]))


@pytest.mark.parametrize(
    ("noise_scale", "gradient", "noise_std"),
    [
        ("weight-norm", [3.0, 4.0], 1e8),
        ("grad-norm", [0.0, 0.0], 1e8),
        ("ratio-norm", [3.0, 4.0], 2e-9),  # S = (5 + 1e-8) / 1e-8
    ],
)
def test_tensors_of_zeros_count_as_tensors_of_a_tiny_norm(
    feed: Any, noise: Any, noise_scale: Any, gradient: list[float], noise_std: float
) -> None:
    initial, g = {"w": torch.zeros(2)}, torch.tensor(gradient)
    params = UpgdParams(noise_std=noise_std, noise_scale=noise_scale)

    (after,) = feed(Upgd, params, initial, [{"w": g}])

    # S * noise_std is 1, and the gate of weights that are 0 is 1/2
    torch.testing.assert_close(after["w"], -0.1 * 0.5 * (g + noise(1, 2)[0]))


def test_of_rows_with_hardly_any_utility_the_gates_are_near_a_half(feed: Any) -> None:
    initial = {"w": torch.tensor([[3e-13, 4e-13], [3e-12, 4e-12]])}
    params = UpgdParams(beta_utility=0.9, noise_std=0.0, scaling="local")

    (after,) = feed(Upgd, params, initial, [{"w": -torch.ones(2, 2)}], learning_rate=1.0)

    # U / b is the weights; norms are 5e-13, in place of which 1e-12 divides, and 5e-12
    gates = 1 - torch.sigmoid(torch.tensor([[0.3, 0.4], [0.6, 0.8]]))
    torch.testing.assert_close(after["w"], gates)


def test_gates_of_ungated_gradients_leave_gradient_descent(feed: Any) -> None:
    initial, *gradients = _drawn(4)
    params = UpgdParams(gate="noise", noise_std=1e-30, weight_decay=0.1)  # lost in rounding

    ours = feed(Upgd, params, initial, gradients)[-1]
    plain = feed(PerturbedSgd, PerturbedSgdParams(weight_decay=0.1), initial, gradients)[-1]

    assert all(torch.equal(ours[name], plain[name]) for name in ours)


def test_the_raw_maximum_closes_gates_at_the_start_and_the_corrected_one_does_not(
    feed: Any,
) -> None:
    initial, gradient = {"w": torch.tensor([-1.0])}, {"w": torch.tensor([1.0])}

    raw, corrected = (
        feed(Upgd, UpgdParams(noise_std=0.0, max_over=over), initial, [gradient])[0]["w"]
        for over in ("raw", "corrected")
    )

    assert torch.equal(raw, initial["w"])  # 1 - sigmoid(1000)
    expected = initial["w"] - 0.1 * (1 - torch.sigmoid(torch.ones(1)))
    torch.testing.assert_close(corrected, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scaling": "local", "max_over": "corrected"},
            "max_over is about the maximum of global scaling; scaling is local",
        ),
        ({"noise_std": 0.0, "gate": "noise"}, "gate: noise acts on noise alone; noise_std is 0"),
        (
            {"noise_std": 0.0, "noise_scale": "ratio-norm"},
            "noise_scale is a factor on noise; noise_std is 0",
        ),
        ({"step_factor": 0.0}, "Input should be greater than 0"),
        ({"noise_std": -1.0}, "Input should be greater than or equal to 0"),
        ({"weight_decay": -1.0}, "Input should be greater than or equal to 0"),
        ({"beta_utility": 1.0}, "Input should be less than 1"),
        ({"gate": "all"}, "Input should be 'both', 'noise' or 'gradient'"),
    ],
)
def test_parameters_without_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        UpgdParams(**settings)

    (mistake,) = caught.value.errors()
    assert mistake["msg"].removeprefix("Value error, ") == message


def test_kernel_averages_need_kernels(dictated: Any) -> None:
    with pytest.raises(UnavailableError) as caught:
        Upgd(UpgdParams(kernel_average="entire"), dictated(W))

    assert str(caught.value) == (
        "kernel_average: entire averages the gates of tensors of four dimensions, and the net has none"
    )
