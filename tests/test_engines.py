"""Parameters of executors on the command line: read, checked, and refused with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, ClassVar

import pytest
from pydantic import Field, PositiveFloat, PositiveInt

from clbench.engines import engine, read_options
from clbench.errors import ClbenchError
from clbench.executor import Listener, Previewing
from clbench.hookspecs import Entry, hookimpl
from clbench.local_pool import LocalExecutor
from clbench.matrix import Cell
from clbench.params import Params
from clbench.registry import Registry


class FarParams(Params):
    jobs: PositiveInt | None = None
    num_gpus: PositiveFloat = 1.0
    account: str | None = None
    requeue: bool = True
    sbatch: dict[str, str] = Field(default_factory=dict)


class Far:
    Params: ClassVar[type[Params]] = FarParams
    version: ClassVar[int] = 1

    def __init__(self, params: FarParams) -> None:
        self.params = params

    def execute(
        self, cells: Sequence[Cell], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Nothing."""


@pytest.fixture
def registry() -> Registry:
    plugin = ModuleType("far")

    @hookimpl
    def clbench_executors() -> Iterable[Entry]:
        return [
            Entry("far", f"{__name__}:Far", "elsewhere"),
            Entry("local", "clbench.local_pool:LocalExecutor", "here"),
        ]

    plugin.clbench_executors = clbench_executors  # type: ignore[attr-defined]
    registry = Registry()
    registry.register(plugin, "far", "far", "1.0")
    return registry


def _params(registry: Registry, *texts: str, **options: Any) -> Any:
    found: Any = engine(registry, "far", read_options(texts, options))
    return found.params


def test_options_have_the_types_of_the_parameters(registry: Registry) -> None:
    texts = ["num_gpus=5e-1", "account=123", "requeue=false", "sbatch.qos=low", "sbatch.nice=10"]

    found = _params(registry, *texts, jobs=3, timeout=None)

    assert found == FarParams(
        jobs=3,
        num_gpus=0.5,
        account="123",
        requeue=False,
        sbatch={"qos": "low", "nice": "10"},
    )


def test_an_equals_sign_may_stand_in_the_value(registry: Registry) -> None:
    assert _params(registry, "account=a=b").account == "a=b"


def test_without_options_the_defaults_hold(registry: Registry) -> None:
    assert _params(registry, jobs=None) == FarParams()
    assert isinstance(engine(registry, "local", {"jobs": "2"}), LocalExecutor)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["num_gpus"], "expected KEY=VALUE after -x, found 'num_gpus'"),
        (["=1"], "expected KEY=VALUE after -x, found '=1'"),
        (["sbatch.=1"], "expected KEY=VALUE after -x, found 'sbatch.=1'"),
        (["jobs=2"], "-x jobs=2: 'jobs' is given already (by --jobs)"),
        (["account=a", "account=b"], "-x account=b: 'account' is given already"),
        (["account=a", "account.b=c"], "-x account.b=c: 'account' has a value already"),
        (["account.b=c", "account=a"], "-x account=a: 'account' is given already"),
        (
            ["num_gpu=1"],
            "executor 'far': unknown parameter 'num_gpu'; did you mean 'num_gpus'?\n"
            "    known: account, jobs, num_gpus, requeue, sbatch",
        ),
        (["num_gpus=half"], "executor 'far': num_gpus: expected a number, found 'half'"),
        (["num_gpus=-1"], "executor 'far': num_gpus: expected a number greater than 0.0, found '-1'"),
        (["num_gpus=nan"], "executor 'far': num_gpus: expected a finite number, found 'nan'"),
        (["requeue=maybe"], "executor 'far': requeue: expected true or false, found 'maybe'"),
        (["sbatch=low"], "executor 'far': sbatch: expected a mapping (-x sbatch.KEY=VALUE), found 'low'"),
        (["account.b=c"], "executor 'far': account: expected text, found a mapping (-x account.KEY=VALUE)"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_told_with_what_would(
    texts: list[str], message: str, registry: Registry
) -> None:
    with pytest.raises(ClbenchError) as caught:
        _params(registry, *texts, jobs=1)

    assert str(caught.value) == message


def test_an_option_that_the_executor_does_not_have_is_unknown(registry: Registry) -> None:
    with pytest.raises(ClbenchError) as caught:
        _params(registry, "num_gpus=no", timeout=3.0)

    assert str(caught.value) == (
        "executor 'far': unknown parameter 'timeout'\n"
        "    known: account, jobs, num_gpus, requeue, sbatch\n"
        "executor 'far': num_gpus: expected a number, found 'no'"
    )


def test_only_an_executor_with_a_preview_can_show_one() -> None:
    assert not isinstance(Far(FarParams()), Previewing)
