"""Families of pictures: which pixels, which labels, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_pictures import SmallPictures
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.images import Split
from clbench.protocols import Batch, Task, TaskFamily
from clbench.scenario import Scenario
from clbench.testing import FamilyContract, equal, snapshot
from clbench_streaming.permuted_streams import InputPermutedStream, PermutedStreamParams
from clbench_vision import incremental_cifar
from clbench_vision.classification import Classification
from clbench_vision.incremental_cifar import IncrementalCifar, IncrementalCifarParams
from clbench_vision.permuted_images import PermutedImages, PermutedImagesParams
from clbench_vision.pictures import Pixels, flip_and_crop, padded, scaled
from clbench_vision.split_images import SplitImages, SplitImagesParams, only


class TestPermuted(FamilyContract):
    def build(self) -> TaskFamily:
        return PermutedImages(PermutedImagesParams(num_tasks=3, padding=1), SmallPictures())


class TestPermutedStream(TestPermuted):
    scenario = Scenario.TASK_FREE


class TestSplit(FamilyContract):
    scenario = Scenario.CLASS_IL

    def build(self) -> TaskFamily:
        params = SplitImagesParams(num_tasks=3, class_order="shuffled", augmentation="flip-crop")
        return SplitImages(params, SmallPictures())


def _tested(task: Task) -> Batch:
    (batch,) = task.test_batches()
    return batch


def _permuted(**params: Any) -> PermutedImages:
    return PermutedImages(PermutedImagesParams(**params), SmallPictures())


def test_permutations_of_the_sources_are_drawn_as_they_draw_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = _permuted(num_tasks=3, permutations="by-task")
    monkeypatch.setattr(family._dataset, "shape", (1, 28, 28))

    first = [order[:8].tolist() for order in family.permutations(5) if order is not None]

    assert first == [
        [693, 85, 647, 392, 765, 14, 299, 711],
        [649, 265, 111, 301, 339, 559, 742, 202],
        [193, 747, 583, 510, 675, 486, 502, 7],
    ]

    one_by_one = _permuted(num_tasks=3, first_task="identity").permutations(42)
    drawing = np.random.RandomState(42)
    assert one_by_one[0] is None
    for order in one_by_one[1:]:
        assert order is not None
        assert order.tolist() == drawing.permutation(16).tolist()


def test_a_task_shows_the_same_pictures_with_pixels_in_its_order() -> None:
    family = _permuted(num_tasks=2, padding=1, first_task="identity")
    plain, permuted = family.tasks(0, Scenario.TASK_IL)
    order = family.permutations(0)[1]
    assert order is not None

    (as_is,), (changed,) = plain.test_batches(), permuted.test_batches()

    assert as_is.inputs.shape == (20, 1, 6, 6)
    assert as_is.inputs[:, :, 0].count_nonzero() == 0  # the frame
    assert torch.equal(changed.inputs.flatten(1), as_is.inputs.flatten(1)[:, order])
    assert torch.equal(changed.targets, as_is.targets)


@pytest.mark.parametrize(
    ("scenario", "first", "second"),
    [
        (Scenario.TASK_IL, {0, 1}, {0, 1}),
        (Scenario.DOMAIN_IL, {0, 1}, {0, 1}),
        (Scenario.CLASS_IL, {0, 1}, {2, 3}),
    ],
)
def test_labels_are_local_or_global_as_the_scenario_has_it(
    scenario: Scenario, first: set[int], second: set[int]
) -> None:
    family = SplitImages(SplitImagesParams(num_tasks=5), SmallPictures())

    tasks = family.tasks(0, scenario)

    for task, labels in zip(tasks, (first, second), strict=False):
        (test,) = task.test_batches()
        assert set(test.targets.tolist()) == labels
        assert set(task.train_stream(torch.Generator()).next(12).targets.tolist()) == labels
        assert task.train_size == 12


def test_the_order_of_classes_follows_the_data_seed_but_for_seed_0() -> None:
    family = SplitImages(SplitImagesParams(class_order="shuffled"), SmallPictures())

    assert family.class_order(0) == list(range(10))
    assert family.class_order(3) == np.random.RandomState(3).permutation(10).tolist()
    assert SplitImages(SplitImagesParams(), SmallPictures()).class_order(3) == list(range(10))


def test_the_classes_of_a_task_get_labels_in_its_order() -> None:
    family = SplitImages(SplitImagesParams(class_order="shuffled"), SmallPictures())
    a, b = family.class_order(3)[:2]
    whole = family._dataset.load("test")

    (test,) = family.tasks(3, Scenario.TASK_IL)[0].test_batches()

    expected = [picture for picture, label in zip(*whole, strict=True) if int(label) in (a, b)]
    labels = [[a, b].index(int(label)) for label in whole.labels if int(label) in (a, b)]
    assert torch.equal(test.inputs, scaled(torch.stack(expected), "unit"))
    assert test.targets.tolist() == labels


def test_a_half_may_lack_the_last_classes() -> None:
    split = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2, 1]))

    assert only(split, [2, 9]).labels.tolist() == [0]
    assert only(split, [8, 9]).pictures.shape == (0, 1, 2, 2)


def test_more_classes_than_there_are_cannot_be_split() -> None:
    with pytest.raises(ClbenchError) as caught:
        SplitImages(SplitImagesParams(num_tasks=6), SmallPictures())

    assert str(caught.value) == "6 tasks of 2 classes need 12 classes, and small has 10"


def test_incremental_cifar_begins_with_all_of_cifar_10() -> None:
    family = IncrementalCifar(IncrementalCifarParams(num_tasks=2, augmentation="flip-crop"))

    first, second = family.tasks(0, Scenario.CLASS_IL)

    assert (first.train_size, second.train_size) == (60, 60)
    (test,) = second.test_batches()
    assert set(test.targets.tolist()) == set(range(10, 20))
    assert first.train_stream(torch.Generator()).next(7).inputs.shape == (7, 3, 4, 4)


def test_incremental_cifar_goes_on_with_the_next_ten_classes_at_each_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Cifar100:
        """A black picture of class 0, one of class 1 a little brighter, and so on."""

        def load(self, split: str) -> Split:
            labels = torch.arange(100)
            return Split(labels.byte().view(-1, 1, 1, 1).expand(-1, 3, 4, 4), labels)

    monkeypatch.setattr(incremental_cifar, "CIFAR100", Cifar100())
    family = IncrementalCifar(IncrementalCifarParams(num_tasks=11, pixels="unit"))

    _, *tasks = family.tasks(0, Scenario.CLASS_IL)

    assert len(tasks) == 10
    for t, task in enumerate(tasks):
        for batch in (_tested(task), task.train_stream(torch.Generator()).next(10)):
            classes = (batch.inputs[:, 0, 0, 0] * 255).round().long()
            assert sorted(classes.tolist()) == list(range(10 * t, 10 * t + 10))
            assert torch.equal(batch.targets, 10 + classes)  # behind those of CIFAR-10


def test_bytes_become_numbers_on_the_stated_scale() -> None:
    pictures = torch.tensor([0, 255], dtype=torch.uint8).repeat(3).view(1, 3, 1, 2)

    assert scaled(pictures, "unit").flatten().tolist() == [0.0, 1.0] * 3
    assert scaled(pictures, "signed").flatten().tolist() == [-1.0, 1.0] * 3
    expected = [(v - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)) for v in (0, 1)]  # fmt: skip
    assert scaled(pictures, "imagenet").flatten().tolist() == pytest.approx(expected)
    assert padded(pictures, 0) is pictures


@pytest.mark.parametrize("pixels", ["unit", "signed", "imagenet"])
@pytest.mark.parametrize(
    ("family", "params", "datasets"),
    [
        (PermutedImages, {"num_tasks": 1, "first_task": "identity"}, [SmallPictures(3)]),
        (SplitImages, {"num_tasks": 1, "classes_per_task": 10}, [SmallPictures(3)]),
        (IncrementalCifar, {"num_tasks": 1}, []),
    ],
)
def test_every_family_gives_numbers_on_the_scale_that_is_asked_for(
    family: Any, params: dict[str, Any], datasets: list[SmallPictures], pixels: Pixels
) -> None:
    pictures = incremental_cifar.CIFAR10.load("test").pictures

    made = family(family.Params(pixels=pixels, **params), *datasets)
    (task,) = made.tasks(0, Scenario.TASK_IL)

    assert torch.equal(_tested(task).inputs, scaled(pictures, pixels))


def test_split_pictures_have_a_black_frame_of_the_width_asked_for() -> None:
    plain, framed = (
        SplitImages(SplitImagesParams(padding=width), SmallPictures()) for width in (0, 2)
    )
    inputs, wide = (
        _tested(family.tasks(0, Scenario.TASK_IL)[1]).inputs for family in (plain, framed)
    )

    assert framed.spec.input_shape == wide.shape[1:] == (1, 8, 8)
    assert torch.equal(wide[:, :, 2:-2, 2:-2], inputs)
    assert wide.count_nonzero() == inputs.count_nonzero()


@pytest.mark.parametrize(
    "build",
    [
        lambda: PermutedImages(PermutedImagesParams(pixels="imagenet"), SmallPictures()),
        lambda: SplitImages(SplitImagesParams(pixels="imagenet"), SmallPictures()),
        lambda: InputPermutedStream(
            PermutedStreamParams(num_tasks=1, pixels="imagenet"), SmallPictures()
        ),
    ],
)
def test_a_scale_of_three_channels_is_not_for_pictures_of_one(build: Callable[[], object]) -> None:
    with pytest.raises(ClbenchError) as caught:
        build()

    assert str(caught.value) == "pixels: imagenet is for 3 channels, and small has 1"


def _cut(picture: Tensor, top: int, left: int, is_mirrored: bool) -> Tensor:
    cut = padded(picture, 1)[:, top : top + 4, left : left + 4]
    return cut.flip(2) if is_mirrored else cut


def test_augmented_pictures_are_mirrored_cuts_of_their_frame() -> None:
    drawing = torch.Generator().manual_seed(0)
    pictures = torch.randint(1, 256, (300, 2, 4, 4), dtype=torch.uint8, generator=drawing)

    found = flip_and_crop(pictures, drawing, width=1)

    seen = set()
    for before, after in zip(pictures, found, strict=True):
        ways = {
            (top, left, mirrored)
            for top in range(3)
            for left in range(3)
            for mirrored in (False, True)
            if torch.equal(_cut(before, top, left, mirrored), after)
        }
        assert len(ways) == 1
        seen |= ways
    assert len(seen) == 18  # every cut, mirrored and not


def test_the_frame_is_four_pixels_wide_unless_another_width_is_asked_for() -> None:
    pictures = torch.zeros(2000, 1, 9, 9, dtype=torch.uint8)
    pictures[:, :, 4, 4] = 255

    found = flip_and_crop(pictures, torch.Generator().manual_seed(0))

    assert torch.equal(found.flatten(1).count_nonzero(1), torch.ones(2000).long())
    assert found.sum(0).count_nonzero() == 81  # by up to four pixels the centre gets everywhere


def test_an_augmented_stream_can_be_restored() -> None:
    family = SplitImages(SplitImagesParams(augmentation="flip-crop"), SmallPictures())
    task = family.tasks(0, Scenario.TASK_IL)[0]
    stream, again = (task.train_stream(torch.Generator().manual_seed(seed)) for seed in (0, 1))
    stream.next(5)

    again.restore(snapshot(stream.state()))

    assert equal(stream.next(20).inputs, again.next(20).inputs)


def test_the_loss_is_cross_entropy_and_the_score_the_share_of_right_answers() -> None:
    objective = Classification()
    outputs = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    (batch,) = (
        SplitImages(SplitImagesParams(), SmallPictures())
        .tasks(0, Scenario.TASK_IL)[0]
        .test_batches()
    )
    batch = type(batch)(inputs=batch.inputs[:3], targets=torch.tensor([1, 0, 0]), task_id=0)

    losses = objective.losses(outputs, batch)

    log2, e2, e1 = np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(1))
    assert losses.tolist() == pytest.approx([log2, e2, e1], rel=1e-5)
    assert objective.tally(outputs, batch) == (100.0, 3)  # a tie goes to the first output
    assert objective.predictions(outputs).tolist() == [0, 0, 1]


def test_distillation_is_the_cross_entropy_of_softened_outputs() -> None:
    objective = Classification()
    outputs, taught = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])

    found = objective.distillation_losses(outputs, taught, 2.0, None)

    p, log_q = torch.tensor([0.0, 2.0]).softmax(0), torch.tensor([1.0, 0.0]).log_softmax(0)
    assert found.tolist() == pytest.approx([float(-4 * (p * log_q).sum())])
    assert objective.replay_window(torch.zeros(1, 1, 4, 4)) == (None, None)
