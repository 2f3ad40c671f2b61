"""Main nets for pictures: shapes, sparse layers, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from clbench.errors import ClbenchError
from clbench.protocols import Batch, Context, MainNet, Query, SequenceSpec
from clbench.sample_gradients import _mapped, squared_gradients
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import NetContract, equal, snapshot
from clbench_sparse.k_winners import KWinnersParams
from clbench_vision.classification import Classification
from clbench_vision.cnn import Cnn, CnnParams
from clbench_vision.hidden import ACTIVATIONS, Init, difference_in_training, draw_weights
from clbench_vision.mlp import Mlp, MlpParams

SPEC = SequenceSpec(kind="classification", input_shape=(1, 12, 12), outputs_per_task=2, num_tasks=2)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 2, 2)
WINNERS = KWinnersParams(percent_on=0.25, boost_strength=1.0)
ALL_WIN = KWinnersParams(percent_on=0.9)  # 4 of 4 units, rounded
SPARSE_MLP: dict[str, Any] = {
    "hidden_sizes": (8, 12), "activation": "linear", "dropout": 0.5, "winners": WINNERS,
    "weight_density": 0.5,
}  # fmt: skip
SPARSE_CNN: dict[str, Any] = {
    "channels": (4, 8), "kernel_size": 3, "conv_activation": "relu", "hidden_sizes": (8,), "dropout": 0.2,
    "conv_winners": KWinnersParams(percent_on=0.5), "winners": WINNERS,
    "conv_weight_density": 0.8, "weight_density": 0.5,
}  # fmt: skip


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _mlp(**params: Any) -> Mlp:
    return Mlp(MlpParams(**params), SPEC, LAYOUT)


def _cnn(**params: Any) -> Cnn:
    return Cnn(CnnParams(**params), SPEC, LAYOUT)


def _query(B: int = 6) -> Query:
    return Query(inputs=torch.randn(B, 1, 12, 12, generator=_generator(1)), task_id=1)


class _Pictures(NetContract):
    def query(self) -> Query:
        return _query(32)


class TestMlp(_Pictures):
    def build(self) -> MainNet:
        return _mlp(hidden_sizes=(7, 5), init="xavier", activation="elu")


class TestSparseMlp(_Pictures):
    def build(self) -> MainNet:
        return _mlp(**SPARSE_MLP)


class TestCnn(_Pictures):
    def build(self) -> MainNet:
        return _cnn(channels=(3,), hidden_sizes=(5,))


class TestSparseCnn(_Pictures):
    def build(self) -> MainNet:
        return _cnn(**SPARSE_CNN)


@pytest.mark.parametrize(
    ("net", "params", "shape", "outputs", "count"),
    [
        (Mlp, MlpParams(hidden_sizes=(400, 400)), (1, 28, 28), 10, 478_410),
        (Mlp, MlpParams(hidden_sizes=(1000, 1000)), (1, 32, 32), 100, 2_126_100),
        (Mlp, MlpParams(hidden_sizes=(300, 150)), (1, 28, 28), 10, 282_160),
        (Mlp, MlpParams(hidden_sizes=(4000,)), (1, 28, 28), 10, 3_180_010),
        (Mlp, MlpParams(hidden_sizes=(4000, 4000)), (1, 28, 28), 10, 19_184_010),
        (Cnn, CnnParams(), (3, 32, 32), 10, 62_006),
        (Cnn, CnnParams(), (1, 28, 28), 10, 44_426),
        (
            Cnn,
            CnnParams(channels=(64, 128), pooling=1, hidden_sizes=(1024,)),
            (3, 32, 32),
            100,
            75_810_788,
        ),
    ],
)
def test_parameter_counts_are_those_of_the_sources(
    net: Any, params: Any, shape: tuple[int, ...], outputs: int, count: int
) -> None:
    spec = replace(SPEC, input_shape=shape, outputs_per_task=outputs)
    layout = OutputLayout(Scenario.DOMAIN_IL, "shared", 2, outputs)

    shapes = net(params, spec, layout).shapes

    assert sum(torch.Size(one).numel() for one in shapes.values()) == count


@pytest.mark.parametrize(
    ("init", "bounds"),
    [
        # fan-in 3 * 25 of the kernel and 100 of the matrix, whose biases have the same bounds
        ("fan-in", {"K": 75**-0.5, "k": 75**-0.5, "W": 0.1, "b": 0.1}),
        # fan-in + fan-out: (3 + 125) * 25 = 3200, and 100 + 500
        ("xavier", {"K": (6 / 3200) ** 0.5, "k": 0.0, "W": 0.1, "b": 0.0}),
    ],
)
def test_fresh_weights_are_uniform_within_the_bounds_of_their_fans(
    init: Init, bounds: dict[str, float]
) -> None:
    shapes = {"K": (125, 3, 5, 5), "k": (125,), "W": (500, 100), "b": (500,)}

    drawn = draw_weights(shapes, init, _generator())

    assert {name: tuple(tensor.shape) for name, tensor in drawn.items()} == shapes
    for name, bound in bounds.items():
        assert 0.9 * bound <= float(drawn[name].max()) <= bound
        assert -bound <= float(drawn[name].min()) <= -0.9 * bound
        nearer = float((drawn[name].abs() < bound / 2).float().mean())
        expected = 0.5 if bound else 0.0
        assert nearer == pytest.approx(expected, abs=0.18)  # four standard errors of the 125


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda a: a.clamp(min=0),
    "elu": lambda a: torch.where(a > 0, a, a.exp() - 1),
    "tanh": lambda a: (a.exp() - (-a).exp()) / (a.exp() + (-a).exp()),
    "sigmoid": lambda a: 1 / (1 + (-a).exp()),
    "leaky-relu": lambda a: torch.where(a > 0, a, 0.01 * a),
    "linear": lambda a: a,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_mlp_is_its_formula(activation: Any) -> None:
    net, s = _mlp(hidden_sizes=(7, 5), activation=activation), FORMULAS[activation]
    p, query = net.initial(_generator()), _query()
    gains = {"h2": torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0])}

    found = net(p, query, Context(gains=gains))

    x = query.inputs.flatten(1)
    x = s(x @ p["W1"].t() + p["b1"])
    x = s(gains["h2"] * (x @ p["W2"].t() + p["b2"]))
    torch.testing.assert_close(found, x @ p["W_out"].t() + p["b_out"])


@pytest.mark.parametrize(("padding", "places"), [(0, 1), (1, 9), (2, 16)])
def test_the_cnn_is_its_formula(padding: int, places: int) -> None:
    net = _cnn(
        channels=(3, 4),
        kernel_size=3,
        padding=padding,
        hidden_sizes=(5,),
        conv_activation="relu",
    )
    p, query = net.initial(_generator()), _query()

    found = net(p, query, Context())

    x = query.inputs
    for i in (1, 2):
        x = functional.pad(x, (padding,) * 4)
        x = functional.max_pool2d(torch.relu(functional.conv2d(x, p[f"K{i}"], p[f"k{i}"])), 2)
    assert x.shape == (6, 4, places**0.5, places**0.5)
    x = torch.relu(x.flatten(1) @ p["W1"].t() + p["b1"])
    torch.testing.assert_close(found, x @ p["W_out"].t() + p["b_out"])


def _batch(B: int = 6) -> Batch:
    targets = torch.randint(2, (B,), generator=_generator(2))
    return Batch(inputs=_query(B).inputs, targets=targets, task_id=1)


@pytest.mark.parametrize("params", [{"hidden_sizes": (7, 5)}, {"hidden_sizes": ()}, SPARSE_MLP])
def test_squared_gradients_of_the_mlp_are_those_of_single_samples(params: dict[str, Any]) -> None:
    net, batch, objective = _mlp(**params), _batch(), Classification()
    weights = net.initial(_generator())
    slow = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for s in range(6):
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        one = replace(batch, inputs=batch.inputs[s : s + 1], targets=batch.targets[s : s + 1])
        outputs = LAYOUT.select(net(leaves, one, Context()), 1)
        objective.losses(outputs, one).sum().backward()
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            slow[name] += leaf.grad.square()

    fast = squared_gradients(net, weights, batch, Context(), LAYOUT, objective)

    for name, expected in slow.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-4, atol=1e-9)


def test_squared_gradients_of_a_sparse_cnn_are_mapped_over_samples() -> None:
    net, batch = _cnn(**(SPARSE_CNN | {"dropout": 0.0})), _batch(3)
    weights = net.initial(_generator())

    found = _mapped(net, weights, batch, Context(), LAYOUT, Classification())

    assert {name: tuple(t.shape) for name, t in found.items()} == dict(net.shapes)
    assert all(float(tensor.sum()) > 0 for tensor in found.values())


@pytest.mark.parametrize("net", [_mlp(**SPARSE_MLP), _cnn(**SPARSE_CNN)], ids=["mlp", "cnn"])
def test_zeros_of_sparse_weights_stay_and_have_no_gradient(net: Any) -> None:
    weights = net.initial(_generator())
    masked = [name for name in weights if name in ("W1", "W2", "K1", "K2")]
    zeros = {name: weights[name] == 0 for name in masked}
    leaves = {name: weight.requires_grad_() for name, weight in weights.items()}
    optimiser = torch.optim.SGD(
        list(leaves.values()), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2
    )

    for _ in range(5):
        optimiser.zero_grad()
        functional.cross_entropy(net(leaves, _query(), Context(training=True)), torch.ones(6).long()).backward()  # fmt: skip
        optimiser.step()

    for name in masked:
        fraction = 0.8 if name.startswith("K") else 0.5
        fan_in = weights[name][0].numel()
        rows = zeros[name].flatten(1).sum(1)
        assert rows.tolist() == [round((1 - fraction) * fan_in)] * len(rows)
        assert leaves[name].detach()[zeros[name]].count_nonzero() == 0
        assert leaves[name].detach()[~zeros[name]].count_nonzero() > 0


def test_only_winners_are_passed_on_and_shown_as_activity() -> None:
    net = _mlp(**(SPARSE_MLP | {"dropout": 0.0}))
    weights = net.initial(_generator())

    outputs, activity = net.with_activity(weights, _query(), Context())

    assert (activity["h1"] != 0).sum(1).tolist() == [2] * 6
    assert (activity["h2"] != 0).sum(1).tolist() == [3] * 6
    torch.testing.assert_close(outputs, net(weights, _query(), Context()))
    torch.testing.assert_close(outputs, activity["h2"] @ weights["W_out"].t() + weights["b_out"])


def test_channels_compete_at_each_place() -> None:
    net = _cnn(**(SPARSE_CNN | {"conv_activation": "linear"}))

    _, activity = net.with_activity(net.initial(_generator()), _query(), Context())

    assert set((activity["c1"] != 0).sum(1).flatten().tolist()) == {2}
    assert activity["c1"].shape == (6, 4, 10, 10)
    assert activity["h1"].shape == (6, 8)


@pytest.mark.parametrize(
    ("net", "bias", "layer"),
    [
        (_mlp(hidden_sizes=(4,), activation="sigmoid", winners=WINNERS), "b1", "h1"),
        (_cnn(channels=(2,), hidden_sizes=(4,), activation="sigmoid", winners=WINNERS), "b1", "h1"),
        (_cnn(channels=(4,), conv_activation="sigmoid", conv_winners=WINNERS), "k1", "c1"),
    ],
    ids=["mlp", "cnn", "convolutions"],
)
def test_winners_come_after_the_activation(net: Any, bias: str, layer: str) -> None:
    weights = {name: torch.zeros(shape) for name, shape in net.shapes.items()}
    weights[bias] = torch.tensor([-1.0, 3.0, 2.0, 0.0])

    _, activity = net.with_activity(weights, _query(), Context())

    units = activity[layer].movedim(1, -1).reshape(-1, 4)  # one row for each sample and place
    expected = torch.tensor([0.0, 1 / (1 + math.exp(-3)), 0.0, 0.0])  # losers are 0, not 1/2
    torch.testing.assert_close(units, expected.expand_as(units))


def test_drop_out_is_for_training_only_and_keeps_the_mean() -> None:
    net = _mlp(hidden_sizes=(4000,), dropout=0.5)
    weights = net.initial(_generator())

    first, second = (net(weights, _query(), Context(training=True)) for _ in range(2))
    still, again = (net(weights, _query(), Context()) for _ in range(2))

    assert not torch.equal(first, second)
    assert torch.equal(still, again)
    ones = net._drawings.drop(torch.ones(100_000), 0.5)
    assert set(ones.tolist()) == {0.0, 2.0}
    assert float(ones.mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("net", [Mlp, Cnn])
def test_state_is_duty_cycles_masks_and_the_generator_of_drop_out(net: Any) -> None:
    def build() -> Any:
        if net is Mlp:
            return _mlp(**SPARSE_MLP)
        return _cnn(**SPARSE_CNN)

    saved, restored = build(), build()
    weights = saved.initial(_generator())
    restored.initial(_generator(9))
    saved(weights, _query(), Context(training=True))

    restored.restore(snapshot(saved.state()))

    for _ in range(2):
        a, b = (one(weights, _query(), Context(training=True)) for one in (saved, restored))
        assert torch.equal(a, b)
    assert equal(saved.state(), restored.state())
    assert saved.statistics() == restored.statistics()
    assert all(0 < value <= 1 for value in saved.statistics().values())


def _grown(net: Any) -> list[Tensor]:
    return [winners.duty_cycle.clone() for winners in net.winners]


def test_fresh_weights_start_duty_cycles_again() -> None:
    net = _mlp(**SPARSE_MLP)
    net(net.initial(_generator()), _query(), Context(training=True))
    assert any(bool(duty.any()) for duty in _grown(net))

    net.initial(_generator())

    assert not any(bool(duty.any()) for duty in _grown(net))


def test_a_cnn_says_what_pictures_it_cannot_take() -> None:
    with pytest.raises(ClbenchError) as flat:
        Cnn(CnnParams(), replace(SPEC, input_shape=(9,)), LAYOUT)
    with pytest.raises(ClbenchError) as small:
        _cnn(channels=(2, 2, 2))

    assert str(flat.value) == "a cnn takes pictures (C, H, W), not samples of (9,)"
    assert str(small.value) == "pictures of (1, 12, 12) are too small for 2 layers"


@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "leaky-relu", "linear"])
def test_units_can_be_masked_where_a_pre_activation_of_zero_switches_them_off(
    activation: Any,
) -> None:
    small: dict[str, Any] = {"hidden_sizes": (5,)}

    assert _mlp(activation=activation, **small).gain_sizes == {"h1": 5}
    assert _cnn(activation=activation, kernel_size=3, **small).gain_sizes == {"h1": 5}
    assert _mlp(activation="sigmoid", **small).gain_sizes == {}
    assert _cnn(activation="sigmoid", kernel_size=3, **small).gain_sizes == {}


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (_mlp(hidden_sizes=(4,), winners=ALL_WIN), ["h1"]),
        (_cnn(channels=(4,), hidden_sizes=(4,), conv_winners=ALL_WIN, winners=ALL_WIN), ["c1", "h1"]),
    ],
    ids=["mlp", "cnn"],
)  # fmt: skip
def test_where_all_units_win_nothing_is_left_to_the_entropy(net: Any, layers: list[str]) -> None:
    net(net.initial(_generator()), _query(), Context(training=True))

    assert net.statistics() == {f"duty_cycle_entropy_{layer}": 0.0 for layer in layers}


@pytest.mark.parametrize(
    ("params", "settings", "name"),
    [
        (MlpParams, {"dropout": 0.5}, "dropout"),
        (MlpParams, {"winners": WINNERS}, "winners"),
        (MlpParams, {"weight_density": 0.5}, "weight_density"),
        (CnnParams, {"winners": WINNERS}, "winners"),
        (CnnParams, {"weight_density": 0.5}, "weight_density"),
    ],
)
def test_what_acts_on_hidden_layers_needs_some(
    params: Any, settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        params(hidden_sizes=(), **settings)

    (mistake,) = caught.value.errors()
    assert mistake["msg"] == f"Value error, {name} acts on hidden layers; hidden_sizes is empty"


def test_drop_out_of_a_cnn_needs_no_hidden_layers() -> None:
    assert CnnParams(hidden_sizes=(), dropout=0.5).dropout == 0.5


@pytest.mark.parametrize(
    ("net", "params", "name"),
    [
        (Mlp, MlpParams(dropout=0.5), None),
        (Mlp, MlpParams(winners=WINNERS), "winners"),
        (Mlp, MlpParams(weight_density=0.5), "weight_density"),
        (Cnn, CnnParams(dropout=0.5), None),
        (Cnn, CnnParams(conv_winners=WINNERS), "conv_winners"),
        (Cnn, CnnParams(winners=WINNERS), "winners"),
        (Cnn, CnnParams(conv_weight_density=0.5), "conv_weight_density"),
        (Cnn, CnnParams(weight_density=0.5), "weight_density"),
    ],
)
def test_winners_and_zeros_in_the_weights_keep_a_net_from_lockstep(
    net: Any, params: Any, name: str | None
) -> None:
    assert net.lockstep_obstacle(params) == name


MORE_AT_TEST = KWinnersParams(percent_on=0.25, k_inference_factor=1.5)


@pytest.mark.parametrize(
    ("dropout", "winners", "name"),
    [
        (0.0, (None, None), None),
        (0.0, (WINNERS, WINNERS), None),
        (0.0, (WINNERS, MORE_AT_TEST), "k_inference_factor"),
        (0.0, (MORE_AT_TEST, None), "k_inference_factor"),
        (0.5, (WINNERS, MORE_AT_TEST), "dropout"),
    ],
)
def test_what_makes_a_net_another_one_in_training_is_named(
    dropout: float, winners: tuple[KWinnersParams | None, ...], name: str | None
) -> None:
    assert difference_in_training(dropout, *winners) == name
