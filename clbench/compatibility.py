"""Whether the parts of a cell can work together; mistakes are kept at the nodes concerned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from clbench.checks import Checker, either
from clbench.config import Choice, Regime, Training
from clbench.errors import UnavailableError
from clbench.families import make
from clbench.params import read
from clbench.scenario import Heads, OutputLayout, Scenario
from clbench.yaml12 import Node


def check_regime(checker: Checker, learner: str, regime: str, node: Node) -> None:
    """Whether the learner serves the regime."""
    loaded = checker.registry.find("learner", learner).load()
    served = sorted(getattr(loaded, "regimes", get_args(Regime)))
    if regime not in served:
        wanted = f"cannot serve the regime '{regime}', only {either([*map(repr, served)])}"
        checker.wrong(node, f"learner '{learner}' {wanted}")


def check_kinds(checker: Checker, suite: Mapping[str, Node], tasks: Mapping[str, Node]) -> None:
    """Whether all tasks are streams or none is: their tables have other columns."""
    nodes = {
        key: checker.mapping(task).get("scenario", suite["scenario"]) for key, task in tasks.items()
    }
    streams = [key for key, node in nodes.items() if node.value == Scenario.TASK_FREE.value]
    for key in streams:
        others = [f"'{other}'" for other in tasks if other not in streams]
        if others:
            what = (
                f"'task-free' beside tasks with boundaries ({', '.join(others)}), whose table has "
            )
            checker.wrong(nodes[key], f"{what}other columns: give '{key}' a suite of its own")


def check_stream(
    checker: Checker,
    settings: Mapping[str, Node],
    regime: str,
    training: Training | None,
    model: Choice | None,
) -> None:
    """Whether a cell of samples one by one, without boundaries, means what its record says."""
    if regime != "sequential":
        what = f"the regime '{regime}' needs boundaries of tasks, and 'task-free' has none"
        checker.wrong(settings["regime"], what)
    if training is not None and training.batch_size != 1:
        what = "expected batch_size 1 in 'task-free', where each sample is predicted before its "
        what += f"update, found {training.batch_size}"
        checker.wrong(settings["training"].at(("batch_size",)), what)
    if model is None:
        return
    loaded = checker.registry.find("model", model.name).load()
    differs = getattr(loaded, "training_differs", lambda params: None)
    cause = differs(read(loaded.Params, model.params))
    if cause is not None:
        what = "makes predictions in training others than those at test, and a stream scores the "
        what += "prediction in training as the one before the update"
        checker.wrong(settings["model"].at((cause,)), f"{cause} {what}")


def check_net(
    checker: Checker,
    family: Choice,
    model: Choice,
    scenario: Scenario | None,
    heads: Heads,
    task: Node,
    node: Node,
) -> None:
    """Whether the main net takes the samples that the tasks give, and can be made for them."""
    model_class = checker.registry.find("model", model.name).load()
    try:
        made = make(family, checker.registry)
        spec, _ = made.spec, made.objective.metric  # which the table needs
    except Exception as error:  # a plugin may raise anything
        what = f"task family '{family.name}' fails: {_cause(error)}"
        checker.wrong(task.at(("family",)), what)
        return
    if spec.kind not in model_class.kinds:
        what = (
            f"model '{model.name}' takes {either(sorted(model_class.kinds))} samples, and task "
            f"family '{family.name}' gives {spec.kind}"
        )
        checker.wrong(node.at(("name",)), what)
    elif scenario is not None and scenario in model_class.scenarios:
        layout = OutputLayout(scenario, heads, spec.num_tasks, spec.outputs_per_task)
        try:
            model_class(read(model_class.Params, model.params), spec, layout)
        except UnavailableError:  # the cell will be skipped
            return
        except Exception as error:  # a plugin may raise anything
            what = f"model '{model.name}' fails: {_cause(error)}"
            checker.wrong(node.at(("name",)), what)


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")
