"""Configurations to YAML and back, strictly."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import yaml

from hybridvit.backbones import ConvConfig, ResNetConfig, ViTConfig
from hybridvit.config import field_values, from_dict, from_yaml, kinds, nearest, to_dict, to_yaml
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.data.loaders.sampling import SamplingConfig
from hybridvit.data.synthetic.dataset import SyntheticConfig
from hybridvit.hydra.balance.kinds import BalanceConfig, FixedConfig, SumConfig
from hybridvit.hydra.views import ViewsConfig
from hybridvit.recipe import Recipe
from hybridvit.runs.stage_config import CNNTeacherConfig, PretrainConfig
from hybridvit.studies.learning_curve.study import Arm, Study
from hybridvit.studies.multitask.study import MultiTaskStudy
from hybridvit.studies.study import LaunchConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.keypoints import KeypointsConfig
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.optimisers.muon import MuonConfig

# Every field of every section but the model away from its default.
FULL = Recipe(
    name="näme: with #signs, 'quotes' and a \n line",
    model=ViTConfig(
        embed_dim=36,
        depth=3,
        num_heads=9,
        tokenizer=ConvConfig(channels=(3, 5), strides=(2, 1)),
        attention=("gpsa", "mhsa", "mhsa"),
        class_token_layer=1,
    ),
    data=DataConfig(
        dataset="mnist",
        root="~",
        image_size=(3, 5),
        train_images=7,
        validation=0.125,
        validation_from="all",
        test=1e-9,
        read_test=False,
        stratify="off",
        split_seed=11,
        skip_unreadable=True,
        hide={"on": 0.5},
        names={"on": ("yes", "no")},
    ),
    augment=AugmentConfig(
        crop_padding=2,
        crop_fill="reflect",
        flip=True,
        policy="rand",
        rand_ops=3,
        rand_magnitude=7,
        erasing=0.25,
        cutout=3,
        mixup=0.2,
        cutmix=0.5,
        mix_probability=0.75,
        repeats=2,
    ),
    progressive=ProgressiveConfig(sizes=((0.0, 3), (0.5, 5))),
    tasks={
        "no": ClassificationConfig(target="on", label_smoothing=0.1, view="left", pooling="mean", hidden=7),
        "yes": RegressionConfig(target="off", angle="radians"),
        "dots": KeypointsConfig(target="1e3", sigma=2.0, stride=8),
    },
    balance=FixedConfig(weights={"no": 1.0, "yes": 0.25, "dots": 3.0}),
    sampling=SamplingConfig(kind="temperature", temperature=3.0),
    views=ViewsConfig(
        stems="separate",
        fusion="bev",
        grid=(3, 5),
        extent=(-1.0, 2.0, -3.0, 4.0),
        embed_dim=36,
        num_heads=9,
        depth=2,
        mlp_ratio=3.0,
        dropout=0.3,
    ),
    optim=MuonConfig(
        lr=1e-05,
        muon_lr=0.03,
        schedule="linear",
        weight_decay=3e-20,
        beta1=0.8,
        beta2=0.99,
        warmup=0.2,
        final_lr=1e-3,
        clip_norm=None,
        layer_decay=0.65,
    ),
    train=TrainConfig(steps=3, batch_size=5, precision="bf16", compile=True, ema=0.999, log_every=7, evaluate_every=11),
    seed=13,
    weights="no: 3.pth",
    pretrain=PretrainConfig(steps=7, lr=1e-7, batch_size=3, mask_ratio=0.25, mask_size=5, normalise=True),
    teacher=CNNTeacherConfig(steps=11, lr=1e-9, weight=0.5, what="both", layers=(0, 2)),
    tta=True,
)


VECTOR = {"view": None, "pooling": "auto", "hidden": None}


def recipe(model):
    return Recipe(name="1e3", model=model)


def study():
    return Study(
        title="what is it worth?",
        base=FULL,
        models={"vit": ViTConfig(), "cnn": ResNetConfig(width=32), "conv": replace(FULL.model, depth=3)},
        reference="vit",
        train_sizes=(10, 100),
        seeds=3,
        learning_rates=(1e-4, 0.5),
        launch=LaunchConfig(backend="sequential", workers=2, address="host:1"),
    )


@pytest.mark.parametrize("config", [FULL, study()], ids=["recipe", "study"])
def test_every_field_comes_back_from_yaml(config):
    text = to_yaml(config)
    again = from_yaml(type(config), text)
    assert again == config
    assert to_yaml(again) == text
    assert type(again.launch.workers if isinstance(again, Study) else again.data.image_size[0]) is int


def test_the_sample_of_every_field_differs_from_the_defaults():
    """...or the test above would miss a field that is not read; those of models are in test_config_models.py."""
    plain = recipe(ViTConfig())
    defaults = {"views": ViewsConfig(), "optim": MuonConfig()}  # other kinds than the defaults have these fields
    for section in ("data", "augment", "sampling", "views", "optim", "train"):
        ours, default = getattr(FULL, section), defaults.get(section, getattr(plain, section))
        same = [f.name for f in dataclasses.fields(ours) if getattr(ours, f.name) == getattr(default, f.name)]
        assert set(same) <= {"kind", "synthetic", "memory"}  # these go with other data and come back in tests below
    same = [f.name for f in dataclasses.fields(FULL) if getattr(FULL, f.name) == getattr(plain, f.name)]
    assert same == ["whitening_init"]  # start values, which weights replace; it comes back in a test below


def test_what_goes_with_other_fields_comes_back_from_yaml():
    data = replace(FULL.data, dataset=None, memory=0.5)
    config = replace(FULL, weights=None, whitening_init=True, data=data)
    assert from_yaml(Recipe, to_yaml(config)) == config
    with pytest.raises(ValueError, match="whitening_init has no effect with weights"):
        replace(FULL, whitening_init=True)


def test_yaml_has_every_field_of_the_recipe():
    plain = yaml.safe_load(to_yaml(recipe(ResNetConfig())))
    assert plain == to_dict(recipe(ResNetConfig()))
    expected = {"kind": "resnet", "block": "basic", "depths": [2, 2, 2, 2], "width": 64, "stem": "auto"}
    assert plain["model"] == expected | {"num_heads": 4, "attention_stages": [], "attention_after": []}
    assert set(plain) == {f.name for f in dataclasses.fields(Recipe)}
    assert plain["tasks"] == {"label": {"kind": "classification", "target": "label", "label_smoothing": 0.0} | VECTOR}


@pytest.mark.parametrize("config", kinds(TaskConfig).values(), ids=lambda config: config.__name__)
def test_every_kind_of_task_comes_back_from_yaml(config):
    required = {f.name: f.name for f in dataclasses.fields(config) if f.default is dataclasses.MISSING}
    one = dataclasses.replace(FULL, tasks={"x": config(**required)})
    assert from_yaml(Recipe, to_yaml(one)) == one


@pytest.mark.parametrize("config", kinds(BalanceConfig).values(), ids=lambda config: config.__name__)
def test_every_kind_of_balance_comes_back_from_yaml(config):
    one = dataclasses.replace(FULL, balance=config(weights={"no": 2.0}) if config is FixedConfig else config())
    assert from_yaml(Recipe, to_yaml(one)) == one


def test_synthetic_scenes_and_comparisons_of_tasks_come_back_from_yaml():
    scenes = SyntheticConfig(samples=7, cameras=4, size=(8, 12), grid=(3, 5), seed=2, missing=0.25)
    one = dataclasses.replace(FULL, data=DataConfig(synthetic=scenes))
    assert from_yaml(Recipe, to_yaml(one)) == one
    several = MultiTaskStudy(
        title="t", base=one, trunks={"a": ResNetConfig(), "b": ViTConfig()}, balances={"s": SumConfig()}, seeds=5
    )
    assert from_yaml(MultiTaskStudy, to_yaml(several)) == several


def test_a_field_that_may_be_none_is_none_in_yaml_too():
    assert from_yaml(Recipe, "name: x\nmodel: {kind: resnet}\nviews: null").views is None
    with pytest.raises(ValueError, match=r"model must be one of ViTConfig, .*, given None"):
        from_yaml(Recipe, "name: x\nmodel: null")


def test_fields_left_out_have_their_defaults():
    config = from_yaml(Recipe, "name: x\nmodel: {kind: resnet}\noptim: {kind: adamw, lr: 0.5}")
    assert config == Recipe(name="x", model=ResNetConfig(), optim=AdamWConfig(lr=0.5))


def changed(path, value):
    """FULL as plain mappings, with one field set."""
    data = to_dict(FULL)
    *parents, last = path.split(".")
    at = data
    for parent in parents:
        at = at[parent]
    at[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sed", "unknown field sed: did you mean seed"),
        ("guide", "unknown field guide: it is now called teacher"),
        ("whiten", "unknown field whiten: it is now called whitening_init"),
        ("test_flips", "unknown field test_flips: it is now called tta"),
        ("optim.learning_rate", "unknown field optim.learning_rate: "),
        ("optim.weight_deacy", "unknown field optim.weight_deacy: did you mean weight_decay"),
        ("train.Steps", "unknown field train.Steps: did you mean steps"),
        ("model.tokenizer.stride", "unknown field model.tokenizer.stride: did you mean strides"),
        ("data.zzz", "unknown field data.zzz: choose from dataset, root, image_size"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(path, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Recipe, changed(path, 1))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", "3", "seed must be an integer, given '3'"),
        ("seed", 3.0, "seed must be an integer, given 3.0"),
        ("seed", True, "seed must be an integer, given True"),
        ("name", 3, "name must be a string, given 3"),
        ("optim.lr", "fast", "optim.lr must be a number, given 'fast'"),
        ("optim.lr", None, "optim.lr must be a number, given None"),
        ("optim.clip_norm", "no", "optim.clip_norm must be a number, given 'no'"),
        ("augment.flip", 1, "augment.flip must be a boolean, given 1"),
        ("augment.flip", "yes", "augment.flip must be a boolean, given 'yes'"),
        ("data.image_size", [3, 5, 7], r"data.image_size must be an integer or a list of at most 2, given \[3, 5, 7\]"),
        ("data.image_size", 3.5, "data.image_size must be an integer or a list, given 3.5"),
        ("model.tokenizer.strides", 2, "model.tokenizer.strides must be a list, given 2"),
        ("model.tokenizer.strides", [2, "1"], r"model.tokenizer.strides.1 must be an integer, given '1'"),
        (
            "model.attention",
            ["gpsa", "mhsa", "conv"],
            "model.attention.2 must be mhsa, gpsa, psa, lsa or talking_heads, given 'conv'",
        ),
        (
            "model.position",
            "Learned",
            "model.position must be learned, sincos1d, sincos2d, relative or none, given 'Learned': did you mean",
        ),
        ("train.precision", 16, "train.precision must be auto, fp32 or bf16, given 16"),
        (
            "train.precision",
            "fp16",
            "train.precision must be auto, fp32 or bf16, given 'fp16': did you mean bf16 or fp32",
        ),
        ("model", "convit_tinny", "model: there is no model 'convit_tinny': did you mean convit_tiny"),
        ("model", 3, "model must be one of ViTConfig, .*, given 3"),
        ("optim", None, "optim must be one of AdamWConfig, MuonConfig, SGDConfig, given None"),
        ("optim", {"lr": 0.5}, "optim.kind is missing: choose from adamw, muon, sgd"),
        ("model.tokenizer", [2], r"model.tokenizer must be one of PatchConfig, .*, given \(2,\)"),
        ("model.kind", "vitt", "model.kind is 'vitt': did you mean vit"),
        ("model.tokenizer.kind", "xyz", "model.tokenizer.kind is 'xyz': choose from patch, overlap, conv, conv_pool, "),
        ("optim.lr", -1.0, "optim.lr must be above 0, given -1.0"),
        ("model.num_heads", 7, "model: embed_dim 36 is not divisible by num_heads 7"),
        ("model.tokenizer.strides", [0, 1], "model.tokenizer.strides.0 must be at least 1, given 0"),
        ("seed", -1, "^seed must be at least 0, given -1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(path, value, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Recipe, changed(path, value))


def test_whole_numbers_serve_as_real_ones():
    config = from_dict(Recipe, changed("optim.lr", 1))
    assert config.optim.lr == 1
    assert type(config.optim.lr) is float


@pytest.mark.parametrize("size", [5, (3, 7), None])
def test_a_union_of_leaves_takes_each_of_them(size):
    assert from_dict(Recipe, changed("data.image_size", size)).data.image_size == size


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="field model is missing"):
        from_yaml(Recipe, "name: x")
    with pytest.raises(ValueError, match=r"field base.name is missing"):
        from_dict(Study, {**to_dict(study()), "base": {"model": {"kind": "vit"}}})


@pytest.mark.parametrize("text", ["", "3", "[1, 2]", "just text"])
def test_yaml_that_is_no_mapping_is_refused(text):
    with pytest.raises(ValueError, match="Recipe is written as a mapping of fields"):
        from_yaml(Recipe, text)


@pytest.mark.parametrize("text", ["name: [", "a: b: c", "\tname: x", "name: !!python/object:os.system {}"])
def test_broken_yaml_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match="no valid YAML: ") as caught:
        from_yaml(Recipe, text)
    assert "\n" not in str(caught.value)


def test_mappings_of_models_are_read_one_by_one():
    data = to_dict(study())
    data["models"]["cnn"]["widht"] = 3
    with pytest.raises(ValueError, match=r"unknown field models.cnn.widht: did you mean width"):
        from_dict(Study, data)


def test_nearest_names():
    assert nearest("convit_tny", ["convit_tiny", "resnet18"]) == "did you mean convit_tiny?"
    assert nearest("CONVIT_TINY", ["convit_tiny", "vit"]) == "did you mean convit_tiny?"
    assert nearest("resnet", ["resnet18", "resnet34", "resnet50"]).count(" or ") == 1
    assert nearest("zzz", ["a", "b"]) == "choose from a, b"


def test_field_values_are_the_leaves_by_their_dotted_names():
    @dataclass(frozen=True)
    class Inner:
        x: int = 1
        kind: Literal["inner"] = "inner"

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = Inner()
        sizes: tuple[int, ...] = (1, 2)

    assert list(field_values(Outer()).items()) == [("inner.x", 1), ("inner.kind", "inner"), ("sizes", [1, 2])]
    assert {"model.tokenizer.strides", "optim.lr", "seed"} <= set(field_values(FULL))
    assert {"models.cnn.width", "launch.backend"} <= set(field_values(study()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": "mlp"}, "reference 'mlp' is none of the models vit, cnn, conv"),
        ({"train_sizes": ()}, "train_sizes(.0)? must be at least 1"),
        ({"train_sizes": (0, 10)}, "train_sizes(.0)? must be at least 1"),
        ({"train_sizes": (100, 10)}, "train_sizes must rise"),
        ({"train_sizes": (10, 10)}, "train_sizes must rise"),
        ({"seeds": 0}, "^seeds must be at least 1, given 0"),
        ({"learning_rates": ()}, "learning_rates(.0)? must be (at least 1 long|above 0)"),
        ({"learning_rates": (0.0, 1.0)}, "learning_rates(.0)? must be (at least 1 long|above 0)"),
        ({"base": replace(FULL, data=DataConfig(validation=0.0))}, "nothing to choose among learning_rates"),
    ],
)
def test_studies_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(study(), **fields)


def test_a_run_of_a_study_changes_what_it_says_and_nothing_else():
    run = study().run(Arm("cnn", 100), seed=5, lr=0.5)
    data = replace(FULL.data, train_images=100, validation=0.0, validation_from="subset", read_test=True)
    optim = replace(FULL.optim, lr=0.5)
    train = replace(FULL.train, evaluate_every=FULL.train.steps)
    given = {"model": ResNetConfig(width=32), "data": data, "optim": optim, "train": train, "seed": 5}
    assert run == replace(FULL, name=f"{FULL.name}/cnn", **given)
    trial = study().run(Arm("cnn", 100), seed=5, lr=0.5, trial=True).data
    assert trial == replace(data, validation=FULL.data.validation, validation_from="all", read_test=False)


def test_launch_settings_that_make_no_sense_are_refused():
    for name in ("workers", "threads"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, given 0"):
            LaunchConfig(**{name: 0})
