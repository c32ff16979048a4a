"""Splits from map-style datasets: forms of items, kinds of targets, the bound on memory, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from hybridvit.data.samples import Column, Splits

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (13, 3, 7, 11), np.uint8)
LABELS = np.arange(13) % 3


class Items(Dataset):
    """A dataset of given items."""

    def __init__(self, items):
        self.items = list(items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pil(image):
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


@pytest.mark.parametrize("transform", [None, to_tensor, pil_to_tensor, np.asarray])
def test_torchvisions_datasets_are_read_exactly(transform):
    train, test = FakeData(17, (3, 11, 7), 5, transform=transform), FakeData(5, (3, 11, 7), 5, random_offset=99)
    splits = Splits.from_datasets(train, test=test)
    assert splits.name == "FakeData"
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (17, 0, 5)
    plain = FakeData(17, (3, 11, 7), 5)
    expected = np.stack([np.asarray(plain[index][0]).transpose(2, 0, 1) for index in range(17)])
    assert np.array_equal(splits.train.views["image"], expected)
    assert splits.columns["label"].kind == "class"
    names = splits.columns["label"].names
    assert [int(names[label]) for label in splits.train.targets["label"]] == [int(plain[i][1]) for i in range(17)]


def test_all_forms_of_items_are_the_same_data():
    pairs = [(pil(image), int(label)) for image, label in zip(COLOUR, LABELS, strict=True)]
    forms = [
        pairs,  # a sequence
        Items(pairs),
        Items([(image, {"label": label}) for image, label in pairs]),
        Items([{"image": image, "label": torch.tensor(label)} for image, label in pairs]),
        TensorDataset(torch.from_numpy(COLOUR), torch.from_numpy(LABELS)),
    ]
    for dataset in forms:
        splits = Splits.from_datasets(dataset)
        assert np.array_equal(splits.train.views["image"], COLOUR)
        assert splits.train.targets["label"].tolist() == LABELS.tolist()
        assert splits.validation.views["image"].shape == (0, 3, 7, 11)


def test_targets_of_every_kind():
    words = ["ox", "ant", None, *["ox"] * 10]
    masks = [Image.fromarray(image[0] % 4) for image in COLOUR]
    dataset = Items(
        (
            image,
            {
                "digit": label,
                "word": word,
                "size": None if index == 1 else label / 2,
                "pair": [0.5, index],
                "mask": mask,
            },
        )
        for index, (image, label, word, mask) in enumerate(zip(COLOUR, LABELS.tolist(), words, masks, strict=True))
    )
    splits = Splits.from_datasets(Subset(dataset, range(7)), Subset(dataset, range(7, 13)), name="things")
    assert splits.name == "things"
    assert {name: (column.kind, len(column.names)) for name, column in splits.columns.items()} == {
        "digit": ("class", 3),
        "word": ("class", 2),
        "size": ("numbers", 1),
        "pair": ("numbers", 2),
        "mask": ("mask", 4),
    }
    train = splits.train.targets
    assert train["word"].tolist() == [1, 0, -1, 1, 1, 1, 1]
    assert np.isnan(train["size"][:, 0]).tolist() == [False, True, *[False] * 5]
    assert np.array_equal(splits.validation.targets["mask"], COLOUR[7:, 0] % 4)
    assert splits.validation.targets["pair"].tolist() == [[0.5, index] for index in range(7, 13)]


def test_columns_say_what_cannot_be_inferred():
    tags = [[1, 0], [0, 1], [1, 1], None, *[[0, 0]] * 9]
    splits = Splits.from_datasets(
        [(image, {"tags": tag}) for image, tag in zip(COLOUR, tags, strict=True)],
        columns={"tags": Column("multilabel", ("sun", "rain"))},
    )
    assert splits.train.targets["tags"][:5].tolist() == [[1, 0], [0, 1], [1, 1], [-1, -1], [0, 0]]


def test_images_that_take_more_memory_than_allowed_are_refused_before_they_are_read():
    read = []

    class Large(Items):
        def __getitem__(self, index):
            read.append(index)
            return np.zeros((1000, 1000, 3), np.uint8), 0

    with pytest.raises(ValueError, match="5000 images of 3 channels of 1000x1000 pixels take 14 GiB, and 1 GiB are"):
        Splits.from_datasets(Large([0] * 5000), memory=1.0)
    assert read == [0]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([(COLOUR[0], 1), (COLOUR[1],)], r"item 1 of train: expected \(image, target\), .* given a tuple of 1"),
        ([COLOUR[0]], "item 0 of train: expected .* given a ndarray"),
        ([{"picture": COLOUR[0], "label": 1}], "item 0 of train: expected .* given a mapping with picture, label"),
        (
            [(COLOUR[0], 1), (COLOUR[1, :1], 1)],
            "item 1 of train: the image is 1 channel of 7x11 pixels, item 0 is 3",
        ),
        ([(COLOUR[0], {"a": 1}), (COLOUR[0], {"b": 1})], "item 1 of train: it has the targets b, item 0 has a"),
        ([("cat.png", 1)], "item 0 of train: an image must be a PIL image or an array .* given a str"),
        ([(COLOUR[0], 1), (COLOUR[1], [1, 2])], r"target 'label' of train: item 1 is int64 of shape \[2\], but item 0"),
        ([], "train has no items"),
    ],
)
def test_items_that_do_not_fit_are_refused(items, says):
    with pytest.raises(ValueError, match=says) as error:
        Splits.from_datasets(Items(items))
    assert "\n" not in str(error.value)


def test_normalised_images_are_refused():
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.2])])
    with pytest.raises(ValueError, match=r"item 0 of test: images of floats must lie in \[0, 1\].*leave out Normalize"):
        Splits.from_datasets(FakeData(3, (3, 11, 7)), test=FakeData(3, (3, 11, 7), transform=transform))


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __len__(self):
            return 1

        def __iter__(self):
            yield COLOUR[0], 0

    with pytest.raises(ValueError, match="train must be a map-style dataset"):
        Splits.from_datasets(Stream())
