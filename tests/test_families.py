"""Task families with datasets: where the names of datasets lead, and what cells say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import toys
from jsonschema import Draft202012Validator
from pydantic import Field
from rich.console import Console
from small_pictures import SmallPictures
from suite_files import GOOD

from clbench import families, listing, runner, schema, staleness, suite
from clbench.config import CellConfig, Choice
from clbench.errors import SuiteError
from clbench.hookspecs import Entry, hookimpl
from clbench.images import ImageDataset
from clbench.matrix import Cell
from clbench.params import DatasetName, Params, dataset_fields
from clbench.protocols import SequenceSpec
from clbench.registry import Registry
from clbench.scenario import Scenario

SMALL = SmallPictures()


class _ShownParams(Params):
    pictures: DatasetName = Field(description="Whose pictures.")
    other: DatasetName = "small"
    kind: DatasetName = "small"
    num_tasks: int = 2


class Shown(toys.Pictures):
    """Tasks that take datasets, and show none."""

    Params: ClassVar[type[Params]] = _ShownParams

    def __init__(self, params: Any, **datasets: ImageDataset) -> None:
        super().__init__(toys.TwoParams(num_tasks=params.num_tasks))
        self.datasets = tuple(datasets.values())

    @property
    def spec(self) -> SequenceSpec:
        assert self.datasets[0].shape == super().spec.input_shape
        return super().spec

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[toys.StoredTask]:
        assert len(self.datasets[0].load("train").labels) == 60
        return super().tasks(data_seed, scenario)


class _NamelessParams(Params):
    pictures: DatasetName = None  # type: ignore[assignment]


class Nameless(Shown):
    """Tasks whose author forgot that a parameter is a name."""

    Params: ClassVar[type[Params]] = _NamelessParams


class _Families:
    @hookimpl
    def clbench_tasks(self) -> list[Entry]:
        return [
            Entry("shown", "test_families:Shown", "shows pictures"),
            Entry("nameless", "test_families:Nameless", "names none"),
        ]


class _Datasets:
    @hookimpl
    def clbench_datasets(self) -> list[Entry]:
        return [
            Entry("small", "test_families:SMALL", "a few pictures"),
            Entry("gone", "test_families:GONE", "is not there"),
            Entry("renamed", "test_families:SMALL", "has another name"),
        ]


def _registry(version: str = "0.3") -> Registry:
    registry = toys.registry()
    registry.register(_Families(), "families", "families", "0.2")
    registry.register(_Datasets(), "datasets", "datasets", version)
    return registry


def _load(folder: Path, task: str, registry: Registry | None = None) -> suite.Suite:
    path = folder / "toy.yaml"
    text = GOOD.replace("{family: pictures}", task)
    assert text != GOOD
    path.write_text(text + "  twice: {learner: plain, label: The same}\n")
    return suite.load(path, _registry() if registry is None else registry)


def _cell(folder: Path) -> CellConfig:
    return _load(folder, "{family: shown, pictures: small}").rows[0].cells[0]


def test_only_fields_of_that_very_type_name_datasets() -> None:
    assert dataset_fields(_ShownParams) == ["pictures", "other", "kind"]
    assert dataset_fields(toys.TwoParams) == []


def test_a_family_is_given_the_datasets_that_its_parameters_name() -> None:
    names = dict.fromkeys(("pictures", "other", "kind"), "small")
    choice = Choice(name="shown", version=1, params=names)

    family: Any = families.make(choice, _registry())

    first, second, third = family.datasets
    assert (first.name, first.num_classes) == ("small", 10)
    assert second is third is first


def test_the_distribution_of_a_dataset_is_part_of_what_a_cell_is(tmp_path: Path) -> None:
    config = _cell(tmp_path)
    of_another = _load(tmp_path, "{family: shown, pictures: small}", _registry("0.4"))

    assert config.plugins == {"toys": "0.1", "families": "0.2", "datasets": "0.3"}
    assert config.task.params == {
        "pictures": "small",
        "other": "small",
        "kind": "small",
        "num_tasks": 2,
    }
    assert of_another.rows[0].cells[0].id != config.id


def test_a_cell_runs_with_its_datasets(tmp_path: Path) -> None:
    cell = Cell("toy", "pictures/plain", _cell(tmp_path))

    record = runner.run_cell(cell, _registry(), lambda progress: None)

    assert record.status == "ok", record.failure


def test_a_dataset_of_another_version_than_the_id_says_does_not_run(tmp_path: Path) -> None:
    cell = Cell("toy", "pictures/plain", _cell(tmp_path))

    record = runner.run_cell(cell, _registry("0.4"), lambda progress: None)

    assert record.failure is not None
    assert record.failure.message == (
        "dataset 'small' is here of datasets 0.4; asked for is that of datasets 0.3\n"
        "    was it installed anew meanwhile, or is it another on this machine?"
    )


_KNOWN = "\n      known: gone, renamed, small"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "{family: shown, pictures: smal}",
            "line 8, tasks.pictures.pictures: unknown dataset 'smal'; did you mean 'small'?"
            + _KNOWN,
        ),
        (
            "{family: shown, pictures: 3}",
            "line 8, tasks.pictures.pictures: expected text, found the number 3",
        ),
        (
            "{family: shown}",
            "line 8, tasks.pictures: missing parameter of task family 'shown': 'pictures'",
        ),
        (
            "{family: shown, pictures: gone}",
            "line 8, tasks.pictures.pictures: dataset 'gone' of plugin 'datasets' (datasets 0.3) "
            "cannot be imported: AttributeError: module 'test_families' has no attribute 'GONE'",
        ),
        (
            "{family: shown, pictures: renamed}",
            "line 8, tasks.pictures.pictures: dataset 'renamed' of plugin 'datasets' "
            "(datasets 0.3) calls itself 'small'",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_one_mistake_in_its_line(
    task: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(SuiteError) as caught:
        _load(tmp_path, task)

    assert [str(mistake) for mistake in caught.value.mistakes] == [expected]


def test_a_default_that_is_not_installed_is_told_of_the_task(tmp_path: Path) -> None:
    registry = toys.registry()
    registry.register(_Families(), "families", "families", "0.2")

    with pytest.raises(SuiteError) as caught:
        _load(tmp_path, "{family: shown, pictures: mnist}", registry)

    places = [str(mistake).partition(": unknown dataset")[0] for mistake in caught.value.mistakes]
    assert places == [
        "line 8, tasks.pictures.pictures",
        "line 8, tasks.pictures: default of 'other'",
        "line 8, tasks.pictures: default of 'kind'",
    ]


def test_a_default_that_is_no_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        _load(tmp_path, "{family: nameless}")

    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "line 8, tasks.pictures.family: the parameters of task family 'nameless' cannot be read "
        "again as they are written (pictures: Input should be a valid string)"
    ]


@pytest.mark.parametrize(("name", "is_valid"), [("small", True), ("smal", False)])
def test_the_schema_knows_the_registered_names(name: str, is_valid: bool) -> None:
    found = Draft202012Validator(schema.of_suites(_registry()))
    task = {"family": "shown", "pictures": name}
    values = {"suite": "toy", "scenario": "task-il", "seeds": 0, "tasks": {"a": task}}

    assert found.is_valid(values | {"methods": {"b": {"learner": "plain"}}}) is is_valid


def test_the_schema_keeps_what_is_said_of_a_parameter() -> None:
    branches = schema.of_suites(_registry())["$defs"]["task"]["allOf"]
    (properties,) = [
        branch["then"]["properties"]
        for branch in branches
        if branch["if"]["properties"]["family"] == {"const": "shown"}
    ]

    assert properties["pictures"] == {
        "type": "string",
        "title": "Pictures",
        "description": "Whose pictures.",
        "enum": ["gone", "renamed", "small"],
        "enumDescriptions": ["is not there", "has another name", "a few pictures"],
    }
    assert properties["other"]["default"] == "small"


def test_a_person_is_told_that_a_parameter_names_a_dataset() -> None:
    console = Console(width=120, record=True)

    console.print(listing.describe(_registry(), "shown"))

    lines = console.export_text().splitlines()
    (line,) = [line for line in lines if line.startswith("pictures")]
    assert line.split() == [
        "pictures",
        "name",
        "of",
        "a",
        "dataset",
        "required",
        "Whose",
        "pictures.",
    ]


def test_changed_code_of_a_dataset_is_told_with_its_version(tmp_path: Path) -> None:
    found = list(staleness._versions(_cell(tmp_path), "datasets", _registry()))

    assert found == ["small of datasets 0.3"] * 3


def test_the_status_of_data_tells_of_datasets_without_files_and_of_those_that_are_broken() -> None:
    console = Console(width=100, record=True)

    console.print(listing.data_status(_registry(), 100))

    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[1].split() == ["small", "needs", "no", "files", "ok", "–"]
    assert lines[3].startswith("dataset 'gone' of plugin 'datasets' (datasets 0.3) cannot be")
    assert "dataset 'renamed' of plugin 'datasets' (datasets 0.3) calls itself 'small'" in lines


def test_a_person_is_told_the_size_of_the_pictures_of_a_dataset() -> None:
    console = Console(width=100, record=True)

    console.print(listing.describe(_registry(), "small"))

    assert "pictures: 1 x 4 x 4, in 10 classes" in console.export_text().splitlines()
