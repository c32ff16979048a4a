"""How far do 50,000 images of 32 pixels go? A hybrid, a ConViT and ResNet-18 with the same recipe, on CIFAR-100.

    hybridvit study recipes/cifar_full.py

For CIFAR-10 add ``--base.data.dataset cifar10 --base.tasks.label.target label``. A run is about 300 epochs, 60,000
steps of 256 images; the study has three seeds. Published results from scratch on CIFAR-100: CCT-7/3x1 80.92 % with
3.8 M parameters, DHVT-T 83.54 % with 5.8 M, ConViT-Ti 75.32 %, WRN-28-10 80.75 %, ResNet-18 75 to 78 %. The recipe
needs a GPU and has not been run yet. CIFAR-100 is read from ``--base.data.root FOLDER`` or from HYBRIDVIT_DATA.
"""

from dataclasses import replace
from pathlib import Path

import hybridvit as hv

HYBRID = hv.ViTConfig(
    embed_dim=288,
    depth=6,
    num_heads=6,
    mlp_ratio=3.0,
    tokenizer=hv.StagesConfig(cnn=hv.ResNetConfig(depths=(1, 2), width=64), patch_size=1),
    feedforward="conv",
    pooling="seq",
    drop_path=0.1,
)
CONVIT = hv.ViTConfig(
    embed_dim=256,
    depth=9,
    num_heads=4,
    tokenizer=hv.ConvConfig(channels=(64, 128), strides=(1, 2)),
    attention=("gpsa",) * 7 + ("mhsa",) * 2,
    pooling="seq",
    drop_path=0.1,
)


def study() -> hv.Study:
    """Three models, all images, three seeds."""
    small = hv.read_recipe(Path(__file__).with_name("small_data.py"), "study").base
    return hv.Study(
        title="How far do 50,000 images of 32 pixels go?",
        base=replace(
            small,
            name="cifar_full",
            model=HYBRID,
            data=replace(small.data, dataset="cifar100"),
            tasks={"label": hv.ClassificationConfig(target="fine", label_smoothing=0.1)},
            train=hv.TrainConfig(
                steps=60_000, batch_size=256, ema=0.9995, compile=True, log_every=500, evaluate_every=20_000
            ),
            tta=True,
        ),
        models={"Hybrid": HYBRID, "ConViT": CONVIT, "ResNet-18": hv.ResNetConfig()},
        reference="ResNet-18",
        train_sizes=(50_000,),
        seeds=3,
        learning_rates=(1e-3,),
        launch=hv.LaunchConfig(backend="sequential", workers=1),
    )
