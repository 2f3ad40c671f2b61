"""What plugins implement: tasks, main nets, learners and regularizers.

Symbols, everywhere: **B** samples, **S** time steps, **W** scored time steps, **F** features,
**K** tasks, and **R**, the (K, K) matrix with ``R[i, j]`` the score on task j after learning
task i. Task ids count from 0. Accuracies are in percent.

The runner drives a learner like this (`clbench/regimes.py`)::

    for i, task in enumerate(tasks):
        learner.begin_task(i)
        for batch in task.train_stream(...):       # batch.task_id is None where it is withheld
            learner.observe(batch)
        learner.end_task(i, task_data)             # not after the last task
        R[i] = [score(learner.predict(query)) for query in tests]

and, for task-free streams of single samples, like this::

    for batch in stream:                           # no begin_task, no end_task, no ids
        learner.observe(batch)                     # its outputs are the prediction before the step
"""

from __future__ import annotations

from clbench.protocols.graphs import RunsAsGraph
from clbench.protocols.learners import (
    HasArtefacts,
    HasWeights,
    Learner,
    LearnerContext,
    NetBuilder,
    Observation,
    ServesSomeRegimes,
)
from clbench.protocols.lockstep import (
    HasLockstepGradients,
    HasLockstepWeights,
    LockstepLearner,
    LockstepNet,
    LockstepRegularizer,
    RunsInLockstep,
)
from clbench.protocols.nets import (
    Context,
    DiffersInTraining,
    HasActivity,
    HasSampleGradients,
    HasStatistics,
    MainNet,
    NamedTensors,
)
from clbench.protocols.regularizers import (
    Consolidation,
    Regularizer,
    Watch,
    WatchesStep,
    WatchesTaskGradient,
)
from clbench.protocols.tasks import (
    CPU,
    Batch,
    BatchStream,
    Distillable,
    Kind,
    Movable,
    Objective,
    Query,
    SequenceSpec,
    State,
    Tally,
    Task,
    TaskData,
    TaskFamily,
)

__all__ = [
    "CPU",
    "Batch",
    "BatchStream",
    "Consolidation",
    "Context",
    "DiffersInTraining",
    "Distillable",
    "HasActivity",
    "HasArtefacts",
    "HasLockstepGradients",
    "HasLockstepWeights",
    "HasSampleGradients",
    "HasStatistics",
    "HasWeights",
    "Kind",
    "Learner",
    "LearnerContext",
    "LockstepLearner",
    "LockstepNet",
    "LockstepRegularizer",
    "MainNet",
    "Movable",
    "NamedTensors",
    "NetBuilder",
    "Objective",
    "Observation",
    "Query",
    "Regularizer",
    "RunsAsGraph",
    "RunsInLockstep",
    "SequenceSpec",
    "ServesSomeRegimes",
    "State",
    "Tally",
    "Task",
    "TaskData",
    "TaskFamily",
    "Watch",
    "WatchesStep",
    "WatchesTaskGradient",
]
