"""The LSTM net."""

from __future__ import annotations

import torch

from clbench.protocols import Context, Query, SequenceSpec
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.lstm import Lstm
from clbench_copytask.recurrent import RecurrentParams

SPEC = SequenceSpec(kind="sequence", input_shape=(8,), outputs_per_task=7, num_tasks=5)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 5, 7)


def test_outputs_are_those_of_torch_lstm_and_a_linear_layer() -> None:
    net = Lstm(RecurrentParams(hidden_size=6), SPEC, LAYOUT)
    params = net.initial(torch.Generator().manual_seed(0))
    x = torch.rand(7, 4, 8, generator=torch.Generator().manual_seed(1))
    reference = torch.nn.LSTM(8, 6)
    names = {"W_ih": "weight_ih_l0", "b_ih": "bias_ih_l0", "W_hh": "weight_hh_l0"}
    with torch.no_grad():
        for ours, theirs in (names | {"b_hh": "bias_hh_l0"}).items():
            getattr(reference, theirs).copy_(params[ours])

    outputs = net(params, Query(inputs=x, task_id=0, window=slice(3, 6)), Context())

    expected = reference(x)[0][3:6] @ params["W_out"].T + params["b_out"]
    torch.testing.assert_close(outputs, expected)


def test_each_gate_block_of_the_recurrent_weights_can_start_orthogonal() -> None:
    net = Lstm(RecurrentParams(hidden_size=6, orthogonal_init=True), SPEC, LAYOUT)

    W_hh = net.initial(torch.Generator().manual_seed(0))["W_hh"]

    assert net.recurrent_blocks == {"W_hh": 4}
    for block in W_hh.chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(6), rtol=0, atol=1e-5)


def test_task_identity_is_an_input_of_every_step() -> None:
    net = Lstm(RecurrentParams(hidden_size=6, task_input=True), SPEC, LAYOUT)
    params = net.initial(torch.Generator().manual_seed(0))
    x = torch.rand(7, 4, 8, generator=torch.Generator().manual_seed(1))

    assert net.shapes["W_ih"] == (24, 13)
    told = [net(params, Query(inputs=x, task_id=i, window=slice(3, 6)), Context()) for i in (0, 1)]
    assert not torch.allclose(*told)
