"""The orthogonal penalty."""

from __future__ import annotations

import pytest
import torch
import toys
from pydantic import ValidationError

from clbench.errors import UnavailableError
from clbench.params import read
from clbench.protocols import SequenceSpec
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.elman import Elman
from clbench_copytask.lstm import Lstm
from clbench_copytask.recurrent import RecurrentParams
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams

SPEC = SequenceSpec(kind="sequence", input_shape=(1,), outputs_per_task=1, num_tasks=2)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 2, 1)


def test_the_penalty_of_a_small_matrix_is_the_one_worked_out_by_hand() -> None:
    net = Elman(RecurrentParams(hidden_size=2), SPEC, LAYOUT)
    W = torch.tensor([[1.0, 1.0], [0.0, 2.0]], requires_grad=True)
    # W W^T - I = [[1, 2], [2, 3]]: squares sum to 18
    # 4 (W W^T - I) W = 4 [[1, 5], [2, 8]]

    penalty = Orthogonal(OrthogonalParams(strength=0.5), net).penalty({"W_hh": W})

    assert penalty is not None
    penalty.backward()
    assert penalty.item() == 9.0
    assert W.grad is not None
    assert W.grad.tolist() == [[2.0, 10.0], [4.0, 16.0]]


def test_the_gradient_is_that_of_automatic_differentiation() -> None:
    net = Elman(RecurrentParams(hidden_size=7), SPEC, LAYOUT)
    W = torch.randn(7, 7, generator=torch.Generator().manual_seed(0)).double().requires_grad_()

    penalty = Orthogonal(OrthogonalParams(strength=0.3), net).penalty({"W_hh": W})
    assert penalty is not None
    (ours,) = torch.autograd.grad(2 * penalty, W)
    plain = 0.3 * (W @ W.T - torch.eye(7)).square().sum()
    (theirs,) = torch.autograd.grad(2 * plain, W)

    torch.testing.assert_close(penalty, plain)
    torch.testing.assert_close(ours, theirs)


def test_an_orthogonal_matrix_costs_nothing() -> None:
    net = Elman(RecurrentParams(hidden_size=8, orthogonal_init=True), SPEC, LAYOUT)
    params = net.initial(torch.Generator().manual_seed(0))

    penalty = Orthogonal(OrthogonalParams(strength=1.0), net).penalty(params)

    assert penalty is not None
    assert penalty.item() < 1e-10


def test_the_gates_of_an_lstm_are_penalised_block_by_block() -> None:
    net = Lstm(RecurrentParams(hidden_size=3), SPEC, LAYOUT)
    params = net.initial(torch.Generator().manual_seed(0))

    penalty = Orthogonal(OrthogonalParams(strength=1.0), net).penalty(params)

    blocks = params["W_hh"].chunk(4)
    expected = sum((W @ W.T - torch.eye(3)).square().sum() for W in blocks)
    assert penalty is not None
    torch.testing.assert_close(penalty, expected)


def test_a_strength_of_zero_adds_nothing_and_a_negative_one_is_refused() -> None:
    net = Elman(RecurrentParams(hidden_size=2), SPEC, LAYOUT)

    assert Orthogonal(OrthogonalParams(strength=0.0), net).penalty({"W_hh": torch.eye(2)}) is None
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        read(OrthogonalParams, {"strength": -1})


def test_a_net_without_recurrent_weights_is_refused() -> None:
    spec = toys.Pictures(toys.TwoParams()).spec
    net = toys.Linear(toys.NoParams(), spec, LAYOUT)

    with pytest.raises(UnavailableError) as caught:
        Orthogonal(OrthogonalParams(strength=1.0), net)

    assert str(caught.value) == "Linear has no recurrent weights that could be orthogonal"
