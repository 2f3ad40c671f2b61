"""Contract tests for plugin authors: the promises of `clbench.protocols`, as test classes.

Subclass one, say how your class is built, and pytest runs the tests it inherits::

    class TestMyLearner(LearnerContract):
        def build(self):
            return MyLearner(MyParams(), context)      # equal each time it is called

        def batches(self, task_id, count):
            return [...]                               # `count` training batches of a task

Each failure says which promise was broken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from clbench import samples
from clbench.cell_run import CellRun
from clbench.checkpoints import reread
from clbench.config import Regime
from clbench.dataset_contract import ImageDatasetContract
from clbench.errors import PluginError
from clbench.executor_contract import ExecutorContract
from clbench.graphs import FIRST_STEPS, AlikeSteps, obstacle
from clbench.matrix import expand
from clbench.metrics import ACCURACY
from clbench.mixing import concatenate
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    MainNet,
    Query,
    TaskFamily,
)
from clbench.randomness import drawn_since, shared_states
from clbench.registry import Registry
from clbench.regularizer_contract import Consolidated, RegularizerContract
from clbench.scenario import OutputLayout, Scenario
from clbench.states import equal, snapshot
from clbench.suite import load
from clbench.tape import Tape
from clbench.tracker_contract import TrackerContract

__all__ = [
    "Consolidated",
    "ExecutorContract",
    "FamilyContract",
    "ImageDatasetContract",
    "LearnerContract",
    "NetContract",
    "RegularizerContract",
    "TrackerContract",
    "as_query",
    "equal",
    "first_run",
    "snapshot",
]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_query(batch: Batch) -> Query:
    """The inputs of a batch alone."""
    return Query(inputs=batch.inputs, task_id=batch.task_id, window=batch.window)


def first_run(suite: Path | str, only: str) -> CellRun:
    """The first cell of a row of a suite, its data made: `learner`, `net` and `stream` are ready.

    Args:
        suite: The file.
        only: The row, as ``clbench run --only`` has it.
    """
    registry = Registry.discover()
    cell = expand(load(Path(suite), registry), [only])[0]
    run = CellRun(cell.config, registry, lambda progress: None)
    run.prepare()
    return run


class FamilyContract:
    """What every task family promises."""

    scenario = Scenario.TASK_IL

    def build(self) -> TaskFamily:
        """The family, small enough to make its tasks in a second."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self)")

    def test_the_tasks_are_as_many_as_the_spec_says(self) -> None:
        family = self.build()

        tasks = family.tasks(0, self.scenario)

        assert len(tasks) == family.spec.num_tasks, "the spec promises another number of tasks"
        assert self.scenario in family.scenarios, "the scenario is not among those it serves"

    def test_equal_data_seeds_give_equal_data_and_others_other_data(self) -> None:
        first, again, other = (self._some_data(seed) for seed in (0, 0, 1))

        assert equal(first, again), "the same data seed gave different data"
        assert not equal(first, other), "the data seed is ignored"

    def _some_data(self, data_seed: int) -> list[Tensor]:
        tasks = self.build().tasks(data_seed, self.scenario)
        batches = [task.train_stream(_generator(0)).next(8) for task in tasks]
        for i, task in enumerate(tasks):
            tested = next(iter(task.test_batches()), None)
            if self.scenario is not Scenario.TASK_FREE:  # a stream is scored while it is learnt
                has_some = tested is not None and tested.targets.numel() > 0
                assert has_some, f"task {i} has no test samples"
            batches += [] if tested is None else [tested]
        return [tensor for batch in batches for tensor in (batch.inputs, batch.targets)]

    def test_data_do_not_depend_on_global_generators(self) -> None:
        torch.manual_seed(0)
        before = shared_states()
        first = self._some_data(0)
        drawn = drawn_since(before)
        torch.manual_seed(1)

        assert equal(first, self._some_data(0)), "data change with torch's global generator"
        assert not drawn, drawn  # seeded anew each time, and still shared

    def test_a_stream_obeys_its_generator_and_can_be_restored(self) -> None:
        task = self.build().tasks(0, self.scenario)[0]
        a, b, other = (task.train_stream(_generator(seed)) for seed in (0, 0, 1))
        first, again, others = (stream.next(64).inputs for stream in (a, b, other))
        assert torch.equal(first, again), "equal generators gave different samples"
        assert not torch.equal(first, others), "the stream ignores its generator"

        restored = task.train_stream(_generator(2))
        restored.restore(reread(a.state()))

        for size in (3, task.train_size, 7):
            here, there = a.next(size), restored.next(size)
            assert torch.equal(here.inputs, there.inputs), "the restored stream went another way"
            found = here.inputs.shape[0 if here.window is None else 1]
            assert found == size, f"asked for {size} samples, the stream gave {found}"

    def test_batches_have_the_shapes_that_the_spec_says(self) -> None:
        family = self.build()
        spec = family.spec
        for task in family.tasks(0, self.scenario):
            for batch in (task.train_stream(_generator(0)).next(6), *task.test_batches()):
                lead = 2 if spec.kind == "sequence" else 1
                shape = tuple(batch.inputs.shape[lead:])
                assert shape == spec.input_shape, "the spec promises another shape of inputs"
                assert batch.task_id is None, "the runner, not the task, says which task it is"
                has_window = batch.window is not None
                assert has_window == (spec.kind == "sequence"), "sequences alone have a window"

    def test_losses_are_one_per_sample_and_differentiable(self) -> None:
        family = self.build()
        batch = family.tasks(0, self.scenario)[0].train_stream(_generator(0)).next(6)
        shape = batch.targets.shape[:2] if batch.window is not None else batch.targets.shape[:1]
        outputs = torch.randn(*shape, family.spec.outputs_per_task, generator=_generator(0))
        outputs.requires_grad_()

        losses = family.objective.losses(outputs, batch)
        (gradient,) = torch.autograd.grad(losses.sum(), outputs)

        assert losses.shape == (6,), "losses are not one per sample"
        assert losses.isfinite().all(), "a loss is not a finite number"
        assert gradient.abs().sum() > 0, "the loss has no gradient"
        scored = family.objective.tally(outputs.detach(), batch).scored
        assert scored > 0, "nothing is scored"
        known = batch.targets.numel()
        assert scored <= known, f"{scored} scored of {known} targets: they are broadcast"

    def test_samples_of_every_task_can_be_judged(self) -> None:
        family = self.build()
        spec, name = family.spec, type(family).__name__
        heads = self.scenario.heads[0]
        layout = OutputLayout(self.scenario, heads, spec.num_tasks, spec.outputs_per_task)
        try:
            tasks, _ = samples.made(family, name, layout, data_seed=0)
            for i, task in enumerate(tasks):
                batch, rows = task.train_stream(_generator(0)).next(6), layout.rows(i)
                samples.check_losses(
                    f"the task family '{name}'", i, family, batch, rows.stop - rows.start
                )
        except PluginError as error:
            raise AssertionError(str(error)) from error

    def test_an_accuracy_is_in_percent(self) -> None:
        family = self.build()
        spec, objective = family.spec, family.objective
        if objective.metric != ACCURACY or spec.kind != "classification":
            return  # what outputs would be right is not known here
        num_labels = spec.outputs_per_task
        if self.scenario is Scenario.CLASS_IL:
            num_labels *= spec.num_tasks
        batch = family.tasks(0, self.scenario)[0].train_stream(_generator(0)).next(6)
        right = one_hot(batch.targets, num_labels).to(batch.inputs.dtype)

        total, scored = objective.tally(right, batch)

        in_percent = math.isclose(total / scored, 100)
        assert in_percent, f"with right outputs alone the accuracy is {total / scored:g}, not 100 %"

        total, scored = objective.tally(torch.randn(6, num_labels, generator=_generator(0)), batch)

        in_range = 0 <= total / scored <= 100
        assert in_range, f"with guesses the accuracy is {total / scored:g} %: targets are broadcast"


class NetContract:
    """What every main net promises."""

    def build(self) -> MainNet:
        """The net, small."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self)")

    def query(self) -> Query:
        """Some inputs for it."""
        raise NotImplementedError(f"{type(self).__name__} needs a method query(self)")

    def test_initial_parameters_have_the_stated_shapes_and_obey_the_generator(self) -> None:
        net = self.build()

        first, again, other = (net.initial(_generator(seed)) for seed in (0, 0, 1))

        assert {name: tuple(tensor.shape) for name, tensor in first.items()} == dict(net.shapes)
        assert list(first) == list(net.shapes)
        assert equal(first, again), "the same generator gave different parameters"
        assert not equal(first, other), "the generator is ignored"

    def test_a_pass_changes_neither_parameters_nor_state(self) -> None:
        net, query = self.build(), self.query()
        params = net.initial(_generator(0))
        before = snapshot(params), snapshot(net.state())

        inputs = query.inputs.clone()

        first, again = net(params, query, Context()), net(params, query, Context())

        assert torch.equal(query.inputs, inputs), "a pass changed its inputs in place"
        assert torch.equal(first, again), "two passes on the same inputs differ"
        assert equal((params, net.state()), before), "a pass changed parameters or state"

    def test_every_parameter_that_a_loss_can_reach_has_a_gradient(self) -> None:
        net = self.build()
        params = {n: t.requires_grad_() for n, t in net.initial(_generator(0)).items()}

        net(params, self.query(), Context(training=True)).square().sum().backward()

        for name, tensor in params.items():
            assert tensor.grad is not None, f"{name} has no gradient"
            assert tensor.grad.abs().sum() > 0, f"{name} has a gradient of zeros"

    def test_named_parameters_exist(self) -> None:
        net = self.build()

        assert set(net.output_names) <= set(net.shapes)
        assert set(net.recurrent_blocks) <= set(net.shapes)


class LearnerContract:
    """What every learner promises.

    A learner built from a context with regularizers uses them or refuses them: the contract cannot
    see which penalties a step should have. `clbench.weight_learner.WeightLearner` refuses them
    unless its class says ``uses_regularizers = True``.
    """

    def build(self) -> Learner:
        """The learner; equal each time it is called."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self)")

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        """`count` training batches of a task; equal each time."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method batches(self, task_id, count)"
        )

    def _learn(self, learner: Learner, task_id: int, finish: bool) -> None:
        batches = self.batches(task_id, 4)
        learner.begin_task(task_id)
        for batch in batches:
            learner.observe(batch)
        if finish:
            learner.end_task(task_id, _Data(batches))

    def _outputs(self, learner: Learner, task_id: int = 0) -> Tensor:
        (batch,) = self.batches(task_id, 1)
        return learner.predict(as_query(batch))

    def test_equal_learners_learn_equally_whatever_the_global_generators(self) -> None:
        outputs = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            learner = self.build()
            self._learn(learner, 0, finish=True)
            self._learn(learner, 1, finish=False)
            outputs.append(self._outputs(learner))

        assert torch.equal(*outputs), "learning depends on something besides its context"

    def test_predicting_changes_no_state(self) -> None:
        learner = self.build()
        self._learn(learner, 0, finish=True)
        before = snapshot(learner.state())

        first, again = self._outputs(learner), self._outputs(learner)

        assert equal(learner.state(), before), "predict changed the learner's state"
        assert torch.equal(first, again), "two predictions on the same inputs differ"
        assert not first.requires_grad, "predictions are not detached"

    def test_an_observation_tells_the_loss_and_the_outputs_before_the_step(self) -> None:
        learner = self.build()
        (batch,) = self.batches(0, 1)
        learner.begin_task(0)
        before = learner.predict(as_query(batch))

        observation = learner.observe(batch)

        assert observation.loss.shape == (), "the loss of an observation is one number"
        assert not observation.loss.requires_grad, "the loss is not detached"
        assert not observation.outputs.requires_grad, "the outputs are not detached"
        torch.testing.assert_close(
            observation.outputs, before, msg="the outputs are not those before the step"
        )
        assert not torch.equal(learner.predict(as_query(batch)), before), "nothing was learnt"

    def test_samples_of_several_tasks_are_judged_each_by_its_own(self) -> None:
        learner = self.build()
        if not {"joint", "cumulative"} & set(getattr(learner, "regimes", get_args(Regime))):
            return  # batches never mix tasks
        parts = [self.batches(task_id, 1)[0] for task_id in (0, 1)]
        axis = 0 if parts[0].window is None else 1
        ids = [torch.full((p.inputs.shape[axis],), i) for i, p in enumerate(parts)]
        mixed = concatenate(parts)
        if parts[0].task_id is not None:
            mixed = replace(mixed, task_id=torch.cat(ids))
        learner.begin_task(0)
        before = torch.cat([learner.predict(as_query(part)) for part in parts], dim=axis)

        observation = learner.observe(mixed)

        torch.testing.assert_close(
            observation.outputs, before, msg="a batch of two tasks gives other outputs than each"
        )

    def test_a_restored_learner_goes_on_bit_for_bit(self) -> None:
        saved, restored = self.build(), self.build()
        self._learn(saved, 0, finish=True)
        self._learn(saved, 1, finish=False)

        restored.restore(reread(saved.state()))
        alike = self._predict_alike(saved, restored, 2)
        assert alike, "predictions are others directly after `restore`"
        for learner in (saved, restored):
            for batch in self.batches(1, 6)[4:]:
                learner.observe(batch)
            learner.end_task(1, _Data(self.batches(1, 4)))
            learner.begin_task(2)
            for batch in self.batches(2, 3):
                learner.observe(batch)

        assert equal(saved.state(), restored.state()), "the restored learner went another way"
        alike = self._predict_alike(saved, restored, 3)
        assert alike, "the restored learner comes to other predictions"

    def _predict_alike(self, one: Learner, other: Learner, num_tasks: int) -> bool:
        """Whether two learners give the same outputs on the first tasks."""
        tasks = range(num_tasks)
        return all(torch.equal(self._outputs(one, i), self._outputs(other, i)) for i in tasks)

    def test_steps_that_are_said_to_be_alike_can_be_played_back(self) -> None:
        alone, recorded = self.build(), self.build()
        if obstacle(recorded) is not None:
            return  # nothing is promised
        steps = AlikeSteps(recorded, lambda device: Tape())
        for learner, observe in ((alone, alone.observe), (recorded, steps.observe)):
            learner.begin_task(0)
            for batch in self.batches(0, FIRST_STEPS + 4):
                observe(batch)

        assert equal(alone.state(), recorded.state()), "steps are said to be alike and are not"


class _Data:
    """`clbench.protocols.TaskData` over some batches, again and again."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._axis = 0 if batches[0].window is None else 1
        self.num_samples = sum(batch.inputs.shape[self._axis] for batch in batches)

    def batches(self, num_samples: int) -> Iterator[Batch]:
        size = self._batches[0].inputs.shape[self._axis]
        for batch in islice(self._batches, -(-num_samples // size)):
            keep = min(size, num_samples)
            num_samples -= keep
            index: Any = slice(0, keep) if self._axis == 0 else (slice(None), slice(0, keep))
            mask = None if batch.mask is None else batch.mask[index]
            yield replace(
                batch, inputs=batch.inputs[index], targets=batch.targets[index], mask=mask
            )
