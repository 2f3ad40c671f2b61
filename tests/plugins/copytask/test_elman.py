"""The Elman net: its equations, its gradients, its initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.protocols import Context, NamedTensors, Query, SequenceSpec
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask import elman
from clbench_copytask.elman import Elman
from clbench_copytask.recurrent import RecurrentParams

SPEC = SequenceSpec(kind="sequence", input_shape=(8,), outputs_per_task=7, num_tasks=5)
MULTI_HEAD = OutputLayout(Scenario.TASK_IL, "per-task", 5, 7)
SINGLE_HEAD = OutputLayout(Scenario.TASK_IL, "shared", 5, 7)


def literal(params: NamedTensors, x: Tensor, window: slice, gain: Tensor | float = 1.0) -> Tensor:
    """The equations of the module's text, word for word."""
    h = x.new_zeros(x.shape[1], params["W_hh"].shape[0])
    outputs = []
    for x_t in x:
        h = torch.tanh(
            gain * (x_t @ params["W_ih"].T + params["b_ih"] + h @ params["W_hh"].T + params["b_hh"])
        )
        y = torch.tanh(gain * (h @ params["W_ho"].T + params["b_ho"]))
        outputs.append(y @ params["W_out"].T + params["b_out"])
    return torch.stack(outputs)[window]


def _double(net: Elman, seed: int = 0) -> dict[str, Tensor]:
    initial = net.initial(torch.Generator().manual_seed(seed))
    return {name: tensor.double().requires_grad_() for name, tensor in initial.items()}


def _inputs(S: int, B: int, F: int, seed: int = 1) -> Tensor:
    return torch.rand(S, B, F, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(
    ("layout", "task_input", "count"),
    [
        (MULTI_HEAD, False, 142_883),
        (SINGLE_HEAD, False, 135_687),
        (MULTI_HEAD, True, 144_163),
    ],
)
def test_parameter_counts_are_those_of_the_source(
    layout: OutputLayout, task_input: bool, count: int
) -> None:
    net = Elman(RecurrentParams(task_input=task_input), SPEC, layout)

    assert sum(math.prod(shape) for shape in net.shapes.values()) == count
    assert {n: tuple(t.shape) for n, t in net.initial(torch.Generator()).items()} == net.shapes


@pytest.mark.parametrize("window", [slice(6, 11), slice(0, 11), slice(2, 5), slice(0, 1)])
@pytest.mark.parametrize("gained", ["no gains", "one mask", "a mask per sample"])
def test_outputs_and_gradients_are_those_of_the_equations(window: slice, gained: str) -> None:
    net = Elman(RecurrentParams(hidden_size=12), SPEC, MULTI_HEAD)
    params, x = _double(net), _inputs(11, 6, 8).requires_grad_()
    gain: Tensor | float = 1.0
    context = Context()
    if gained != "no gains":
        shape = (12,) if gained == "one mask" else (6, 12)
        gain = (torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.6).double()
        context = Context(gains={"h": gain, "y": gain})
    weights = _inputs(window.stop - window.start, 6, 35, seed=2)

    outputs = net(params, Query(inputs=x, task_id=0, window=window), context)
    leaves = [*params.values(), x]
    ours = torch.autograd.grad((outputs * weights).sum(), leaves)
    expected = literal(params, x, window, gain)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)

    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_in_single_precision_outputs_agree_to_rounding() -> None:
    net = Elman(RecurrentParams(), SPEC, MULTI_HEAD)
    params = net.initial(torch.Generator().manual_seed(0))
    x = _inputs(11, 128, 8).float().round()

    outputs = net(params, Query(inputs=x, task_id=0, window=slice(6, 11)), Context())

    torch.testing.assert_close(outputs, literal(params, x, slice(6, 11)), rtol=0, atol=2e-6)


def test_training_follows_the_equations_for_hundreds_of_steps() -> None:
    net = Elman(RecurrentParams(hidden_size=10), SPEC, SINGLE_HEAD)
    fast, slow = _double(net), _double(net)
    generator = torch.Generator().manual_seed(5)
    optimisers = [torch.optim.Adam(list(p.values()), lr=1e-2) for p in (fast, slow)]
    window = slice(3, 5)

    for _ in range(300):
        x = torch.rand(5, 8, 8, generator=generator).round().double()
        y = x[:2, :, :7]
        query = Query(inputs=x, task_id=0, window=window)
        for optimiser, outputs in zip(
            optimisers, (net(fast, query, Context()), literal(slow, x, window)), strict=True
        ):
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(outputs, y).backward()
            optimiser.step()

    for name in fast:
        torch.testing.assert_close(fast[name], slow[name], rtol=1e-9, atol=1e-9)


def test_task_identity_is_a_one_hot_input_at_every_step() -> None:
    net = Elman(RecurrentParams(hidden_size=6, task_input=True), SPEC, MULTI_HEAD)
    params, x = _double(net), _inputs(4, 3, 8)
    ids = torch.tensor([2, 0, 4])
    one_hot = torch.nn.functional.one_hot(ids, 5).double().expand(4, 3, 5)
    expected = literal(params, torch.cat([x, one_hot], dim=2), slice(1, 4))

    mixed = net(params, Query(inputs=x, task_id=ids, window=slice(1, 4)), Context())
    single = net(params, Query(inputs=x[:, 2:], task_id=4, window=slice(1, 4)), Context())

    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(single, expected[:, 2:])


def test_where_the_task_is_withheld_it_cannot_be_an_input() -> None:
    layout = OutputLayout(Scenario.DOMAIN_IL, "shared", 5, 7)

    with pytest.raises(ClbenchError) as caught:
        Elman(RecurrentParams(hidden_size=6, task_input=True), SPEC, layout)

    assert (
        str(caught.value) == "task_input: the task is withheld at test, and only task-il gives it"
    )


def test_every_layer_starts_uniform_within_the_root_of_its_fan_in() -> None:
    net = Elman(RecurrentParams(), SPEC, MULTI_HEAD)

    drawn = net.initial(torch.Generator().manual_seed(0))

    for name, tensor in drawn.items():
        bound = 1 / math.sqrt(8) if name.endswith("ih") else 1 / 16
        assert 0.9 * bound < tensor.abs().max() <= bound
        if tensor.numel() > 1000:
            assert tensor.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_the_recurrent_weights_can_start_orthogonal() -> None:
    net = Elman(RecurrentParams(hidden_size=32, orthogonal_init=True), SPEC, MULTI_HEAD)
    plain = Elman(RecurrentParams(hidden_size=32), SPEC, MULTI_HEAD)

    W = net.initial(torch.Generator().manual_seed(0))
    others = plain.initial(torch.Generator().manual_seed(0))

    torch.testing.assert_close(W["W_hh"] @ W["W_hh"].T, torch.eye(32), rtol=0, atol=1e-5)
    for name in set(W) - {"W_hh"}:
        assert torch.equal(W[name], others[name])


@pytest.mark.parametrize("chunk", [2**18, 300, 1], ids=["all", "some", "one"])
def test_squared_gradients_are_those_of_a_loop_over_samples(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elman, "_CHUNK", chunk)  # how many samples are taken at once
    net = Elman(RecurrentParams(hidden_size=9), SPEC, MULTI_HEAD)
    params, x, window = _double(net), _inputs(11, 20, 8), slice(6, 11)
    mask = (torch.rand(9, generator=torch.Generator().manual_seed(4)) < 0.7).double()
    context = Context(gains={"h": mask, "y": mask})
    weights = _inputs(5, 20, 35, seed=2) - 0.5
    expected = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for n in range(20):
        outputs = literal(params, x[:, n : n + 1], window, mask)
        loss = (outputs * weights[:, n : n + 1]).sum()
        for name, gradient in zip(
            params, torch.autograd.grad(loss, list(params.values())), strict=True
        ):
            expected[name] += gradient.square()

    query = Query(inputs=x, task_id=0, window=window)
    detached = {name: tensor.detach() for name, tensor in params.items()}
    squares = net.squared_gradients(detached, query, context, lambda outputs: weights)

    assert squares.keys() == params.keys()
    for name, square in squares.items():
        torch.testing.assert_close(square, expected[name], rtol=1e-9, atol=1e-12)
