"""What a task family made, looked at before anything is learnt from it.

Many mistakes raise by themselves, somewhere. Tensors of the wrong shape often do not: they are
broadcast, and a number comes out that means nothing. What is promised of tasks is in
`clbench.protocols.tasks`; only what cannot mean anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral

import torch
from torch import Tensor

from clbench.errors import PluginError, in_one_line
from clbench.moving import batch_on, tasks_on
from clbench.protocols import CPU, Batch, Objective, SequenceSpec, Task, TaskFamily
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario

_OF_A_TASK = ("train_size", "train_stream", "test_batches")


def made(
    family: TaskFamily, name: str, layout: OutputLayout, data_seed: int, device: torch.device = CPU
) -> tuple[Sequence[Task], list[list[Batch]]]:
    """The tasks of a sequence and their test sets, on a device.

    Args:
        family: Makes them.
        name: Of the family, for errors.
        layout: Which outputs compete.
        data_seed: Seed of the tasks.
        device: Where they are wanted.

    Raises:
        PluginError: They are not what is promised of them.
        UnavailableError: The data is not here.
    """
    where, spec = f"the task family '{name}'", family.spec
    tasks = _tasks(where, family.tasks(data_seed, layout.scenario), spec.num_tasks)
    tasks = list(tasks_on(device, tasks))
    tests = [_test_set(where, spec, i, task) for i, task in enumerate(tasks)]
    if layout.scenario is not Scenario.TASK_FREE:  # a stream is scored while it is learnt
        _check_sizes(where, tests)
    if device.type != "meta":  # whose tensors have no data
        _check_judging(where, family, layout, tests)
    return tasks, [[batch_on(device, batch) for batch in batches] for batches in tests]


def _check_judging(
    where: str, family: TaskFamily, layout: OutputLayout, tests: Sequence[Sequence[Batch]]
) -> None:
    spec = family.spec
    if spec.kind == "classification" and layout.scenario is Scenario.CLASS_IL:
        _check_global_labels(where, spec.outputs_per_task, tests)
    for i, batches in enumerate(tests):
        rows = layout.rows(i if layout.scenario.gives_task_id_at_test else None)
        for batch in batches:
            if spec.kind == "classification":
                _check_labels(where, i, batch.targets)
            check_losses(where, i, family, batch, rows.stop - rows.start)


def check_losses(
    where: str, task_id: int, family: TaskFamily, batch: Batch, num_outputs: int
) -> None:
    """Whether the objective gives one loss for each sample, and has an output for each label.

    On the CPU, where a label that no output stands for is an error that can be read.

    Args:
        where: The family, for errors.
        task_id: The task of the samples.
        family: Whose objective is asked.
        batch: Samples.
        num_outputs: Outputs that compete.

    Raises:
        PluginError: It does not.
    """
    batch, objective = batch_on(CPU, batch), family.objective
    axis = 0 if batch.window is None else 1
    B = int(batch.inputs.shape[axis])
    if B == 0:
        return
    lead = batch.targets.shape[: axis + 1]
    outputs = torch.randn(*lead, num_outputs, generator=generator(0, "outputs"))
    of = f"the objective of {where}, asked for the losses of {B} samples of task {task_id},"
    try:
        losses: object = objective.losses(outputs, batch)
    except (RuntimeError, TypeError, ValueError):
        return  # nothing is known of an objective that takes targets of training alone
    except IndexError as error:
        shapes = f"outputs {tuple(outputs.shape)} and {_about(batch.targets)}"
        raise PluginError(f"{of} raised {in_one_line(error)} on {shapes}") from error
    if not isinstance(losses, Tensor):
        raise PluginError(f"{of} gave a value of type {_type(losses)}; expected a tensor ({B},)")
    if losses.shape != (B,):
        what = f"gave a tensor of shape {tuple(losses.shape)}; expected one for each, ({B},)"
        raise PluginError(f"{of} {what}")
    is_flat = family.spec.kind == "regression" and batch.targets.dim() == 1
    if is_flat and not _judges_alone(objective, outputs, batch, losses):
        raise PluginError(
            f"{of} sets each output against the targets of all samples: targets of shape ({B},) "
            f"are broadcast to outputs ({B}, {num_outputs}); give targets of shape "
            f"({B}, {num_outputs})"
        )


def _tasks(where: str, tasks: object, num_tasks: int) -> list[Task]:
    if not isinstance(tasks, Iterable):
        raise PluginError(f"{where} made no tasks, but a value of type {_type(tasks)}")
    found = list(tasks)
    if len(found) != num_tasks:
        what = f"made another number of tasks ({len(found)}) than its spec says ({num_tasks})"
        raise PluginError(f"{where} {what}")
    for i, task in enumerate(found):
        for name in _OF_A_TASK:
            if not hasattr(task, name):
                what = f"is of type {_type(task)}, and lacks '{name}'"
                raise PluginError(f"task {i} of {where} {what}")
        size: object = task.train_size
        if not isinstance(size, Integral) or size < 1:
            what = f"has a train_size of {size!r}; expected the number of its training samples"
            raise PluginError(f"task {i} of {where} {what}, at least 1")
    return found


def _test_set(where: str, spec: SequenceSpec, task_id: int, task: Task) -> list[Batch]:
    gave = f"{where} gave, as test batches of task {task_id},"
    batches: object = task.test_batches()
    if not isinstance(batches, Iterable) or isinstance(batches, Batch):
        raise PluginError(f"{gave} a value of type {_type(batches)}; expected a list of batches")
    found = list(batches)
    for batch in found:
        if not isinstance(batch, Batch):
            raise PluginError(f"{gave} a value of type {_type(batch)}; expected a Batch")
        for name in ("inputs", "targets"):
            tensor = getattr(batch, name)
            if not isinstance(tensor, Tensor):
                raise PluginError(f"{gave} {name} of type {_type(tensor)}; expected a tensor")
        _check_shapes(gave, spec, batch)
    return found


def _check_shapes(gave: str, spec: SequenceSpec, batch: Batch) -> None:
    is_sequence = spec.kind == "sequence"
    axis, lead = (1, "(steps, samples, ") if is_sequence else (0, "(samples, ")
    inputs, targets = tuple(batch.inputs.shape), tuple(batch.targets.shape)
    wanted = tuple(spec.input_shape)
    if len(inputs) != axis + 1 + len(wanted) or inputs[axis + 1 :] != wanted:
        listed = lead + ", ".join(map(str, wanted)) + ")"
        raise PluginError(f"{gave} inputs of shape {inputs}; its spec says {listed}")
    if len(targets) <= axis or targets[axis] != inputs[axis]:
        what = f"targets of shape {targets} for inputs of shape {inputs}"
        raise PluginError(f"{gave} {what}: not one for each sample")


def _check_labels(where: str, task_id: int, targets: Tensor) -> None:
    """Whether labels count from 0; PyTorch's cross-entropy takes -100 for no label at all."""
    if not targets.is_floating_point() and targets.numel() and int(targets.min()) < 0:
        what = f"labels from {int(targets.min())} to {int(targets.max())}; they count from 0"
        raise PluginError(f"{where} gave, as test batches of task {task_id}, {what}")


def _check_sizes(where: str, tests: Sequence[Sequence[Batch]]) -> None:
    sizes = [sum(batch.targets.numel() for batch in batches) for batches in tests]
    empty = [str(j) for j, size in enumerate(sizes) if size == 0]
    if empty:
        which = f"task {empty[0]}" if len(empty) == 1 else f"tasks {', '.join(empty)}"
        raise PluginError(f"{where} gave no test samples of {which} (of {len(tests)}, from 0)")


def _check_global_labels(where: str, per_task: int, tests: Sequence[Sequence[Batch]]) -> None:
    """Whether some task has classes beyond those of the first; else labels count anew in each."""
    targets = [batch.targets for batches in tests for batch in batches if batch.targets.numel()]
    if len(tests) < 2 or any(one.is_floating_point() for one in targets):
        return
    if all(int(one.max()) < per_task for one in targets):
        raise PluginError(
            f"{where} has no label above {per_task - 1} in the test sets of its {len(tests)} "
            f"tasks, and in class-il every class has a label of its own: those of task t are "
            f"{per_task} t to {per_task} t + {per_task - 1}"
        )


def _judges_alone(objective: Objective, outputs: Tensor, batch: Batch, losses: Tensor) -> bool:
    """Whether the loss of the first sample is the same without the others."""
    first = replace(batch, inputs=batch.inputs[:1], targets=batch.targets[:1])
    alone = objective.losses(outputs[:1], first)
    return torch.allclose(alone, losses[:1], rtol=1e-3, equal_nan=True)


def _about(targets: Tensor) -> str:
    shape = tuple(targets.shape)
    if targets.is_floating_point():
        return f"targets {shape}"
    return f"targets {shape} from {int(targets.min())} to {int(targets.max())}"


def _type(value: object) -> str:
    return type(value).__name__
