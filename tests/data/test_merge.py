"""Several data sets as one: each sample keeps the labels and cameras that it has."""

from dataclasses import replace

import numpy as np
import pytest

from hybridvit.data.merge import merge
from hybridvit.data.samples import Column, Samples, Splits

KIND = Column("class", ("a", "b"))
BOX = Column("boxes", ("x",))
SIZE = Column("numbers", ("w", "h"))


def part(n, **targets):
    return Samples({"image": np.full((n, 1, 3, 5), n, np.uint8)}, targets)


def boxes(n, m):
    found = np.zeros((n, m, 5), np.float32)
    found[-1] = np.nan
    return found


def first():
    targets = {"kind": np.array([0, 1, -1]), "box": boxes(3, 2)}
    train = part(3, **targets)
    return Splits("one", {"kind": KIND, "box": BOX}, train, train[:0], train[:1])


def second():
    targets = {"size": np.ones((2, 2), np.float32), "box": boxes(2, 4)}
    train = part(2, **targets)
    return Splits("two", {"size": SIZE, "box": BOX}, train, train[:0], train[:0])


def test_every_sample_keeps_its_labels_and_lacks_the_others():
    both = merge([first(), second()])
    assert both.name == "one+two"
    assert dict(both.columns) == {"kind": KIND, "box": BOX, "size": SIZE}
    assert both.train.targets["kind"].tolist() == [0, 1, -1, -1, -1]
    assert np.isnan(both.train.targets["size"][:3]).all()
    assert (both.train.targets["size"][3:] == 1).all()
    assert both.train.source.tolist() == [0, 0, 0, 1, 1]
    assert both.train.views["image"][:, 0, 0, 0].tolist() == [3, 3, 3, 2, 2]
    assert (len(both.validation), len(both.test)) == (0, 1)
    assert not both.train.present  # the only view is always there


def test_boxes_are_padded_to_the_same_number_and_an_unlabelled_image_stays_unlabelled():
    found = merge([first(), second()]).train.targets["box"]
    assert found.shape == (5, 4, 5)
    assert found[0, :, 0].tolist() == [0, 0, -1, -1]
    assert np.isnan(found[2]).all()
    assert np.isnan(found[4]).all()
    assert found[3, :, 0].tolist() == [0, 0, 0, 0]


def test_a_camera_that_only_one_data_set_has_is_missing_in_the_other():
    other = replace(second(), train=Samples({"side": np.ones((2, 1, 7, 5), np.uint8)}, second().train.targets))
    other = replace(other, validation=other.train[:0], test=other.train[:0])
    both = merge([first(), other])
    assert both.train.present["image"].tolist() == [True, True, True, False, False]
    assert both.train.present["side"].tolist() == [False, False, False, True, True]
    assert not both.train.views["side"][:3].any()


def test_one_data_set_is_itself():
    only = first()
    assert merge([only]) is only


def test_what_does_not_go_together_is_refused():
    wrong = replace(second(), columns={"size": SIZE, "box": Column("boxes", ("y",))})
    with pytest.raises(ValueError, match="column 'box' holds boxes of x in one data set, and boxes of y in two: give"):
        merge([first(), wrong])
    large = replace(second(), train=Samples({"image": np.ones((2, 1, 3, 7), np.uint8)}, second().train.targets))
    with pytest.raises(
        ValueError, match="is 1 channel of 3x5 pixels in one data set and 1 channel of 3x7 pixels in two"
    ):
        merge([first(), large])
