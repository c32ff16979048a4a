"""The classification task: loss against scipy, missing labels, accuracy and decoding by hand."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.models import create_model
from hybridvit.tasks.classification import ClassificationConfig, ClassificationHead, ClassificationTask

CLASSES = ("ant", "bee", "cat")


def task(label_smoothing=0.0):
    return ClassificationTask("kind", CLASSES, ClassificationConfig(target="species", label_smoothing=label_smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("labels", [[0, 1, 2, 1, 2], [0, -1, 2, -1, -1]])
def test_loss_is_the_mean_cross_entropy_of_the_labelled_samples(labels, smoothing):
    logits = torch.randn(5, 3) * 3
    log_p = log_softmax(logits.double().numpy(), axis=1)
    losses = [
        -sum(((1 - smoothing) * (c == label) + smoothing / 3) * log_p[i, c] for c in range(3))
        for i, label in enumerate(labels)
        if label >= 0
    ]
    loss = task(smoothing).loss(logits, torch.tensor(labels))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_missing_label_contributes_no_gradient(smoothing):
    logits = torch.randn(5, 3, requires_grad=True)
    labels = torch.tensor([-1, 2, -1, 0, 1])
    task(smoothing).loss(logits, labels).backward()
    labelled = logits.detach()[labels >= 0].requires_grad_()
    task(smoothing).loss(labelled, labels[labels >= 0]).backward()
    assert not logits.grad[labels < 0].any()
    torch.testing.assert_close(logits.grad[labels >= 0], labelled.grad)
    assert labelled.grad.abs().min() > 0


def test_missing_labels_leave_the_gradient_of_a_model_alone():
    config = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    model = create_model(config, num_classes=3, image_size=(4, 6))
    images, labels = torch.randn(5, 3, 4, 6), torch.tensor([-1, 2, -1, 0, 1])
    parameters = list(model.parameters())
    mixed = torch.autograd.grad(task().loss(model(images), labels), parameters)
    alone = torch.autograd.grad(task().loss(model(images[labels >= 0]), labels[labels >= 0]), parameters)
    for a, b in zip(mixed, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_batch_without_labels_has_no_loss_and_no_gradient(smoothing):
    logits = torch.randn(2, 3, requires_grad=True)
    loss = task(smoothing).loss(logits, torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_loss_of_half_precision_logits_is_taken_in_fp32():
    logits = torch.tensor([[300.0, 0, 0], [0, 0.0078125, 0]])
    labels = torch.tensor([1, 1])
    loss = task().loss(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, task().loss(logits, labels))


def test_accuracy_counts_labelled_samples_over_all_batches():
    metric = task().metric()
    logits = torch.eye(3)[torch.tensor([0, 1, 2, 1])]
    task().observe(metric, logits, torch.tensor([0, -1, 1, 1]))  # 2 of 3
    task().observe(metric, logits[:1], torch.tensor([1]))  # 0 of 1
    assert {name: value.item() for name, value in metric.compute().items()} == {"accuracy": pytest.approx(2 / 4)}
    assert next(iter(task().higher_is_better.items())) == ("accuracy", True)
    assert task().metric() is not task().metric()


def test_decode_by_hand():
    logits = torch.log(torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]]))
    rows = task().decode(logits.bfloat16().float())
    assert [row["class"] for row in rows] == ["bee", "ant"]
    assert [row["probability"] for row in rows] == pytest.approx([0.7, 0.5], abs=0.01)
    assert all(type(row["probability"]) is float for row in rows)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_head_pools_as_the_backbone_asks_then_maps_linearly(pooling, randomise):
    prefix = 2 if pooling == "cls" else 0
    head = randomise(task().head(FeatureSpec(7, (3, 5), prefix, pooling, {})))
    features = Features(torch.randn(2, 15, 7), torch.randn(2, prefix, 7), (3, 5), {})
    vector = features.prefix[:, 0] if pooling == "cls" else features.tokens.sum(1) / 15
    expected = vector @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(head(features), expected)
    assert head(features).shape == (2, 3)


def test_head_pools_a_sequence_by_learned_weights(randomise):
    head = randomise(task().head(FeatureSpec(7, (3, 5), 0, "seq", {})), scale=1.0)
    features = Features(torch.randn(2, 15, 7), torch.randn(2, 0, 7), (3, 5), {})
    shares = torch.softmax(features.tokens @ head.pool.score.weight[0] + head.pool.score.bias, dim=1)
    vector = torch.einsum("bn,bnd->bd", shares, features.tokens)
    torch.testing.assert_close(head(features), vector @ head.fc.weight.T + head.fc.bias)
    torch.testing.assert_close(head.pooled(features), vector)


def test_a_distilled_head_predicts_the_mean_of_two_layers(randomise):
    head = randomise(task().head(FeatureSpec(7, (3, 5), 2, "cls", {}, distilled=True)))
    features = Features(torch.randn(2, 15, 7), torch.randn(2, 2, 7), (3, 5), {})
    first, second = features.prefix.unbind(1)
    expected = first @ head.fc.weight.T + head.fc.bias, second @ head.fc_dist.weight.T + head.fc_dist.bias
    for found, wanted in zip(head.both(features), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(head(features), (expected[0] + expected[1]) / 2)
    assert not torch.allclose(expected[0], expected[1], atol=1e-2)
    torch.testing.assert_close(head.pooled(features), features.prefix.mean(1))
    plain = task().head(FeatureSpec(7, (3, 5), 2, "cls", {}))
    assert plain.fc_dist is None
    with pytest.raises(ValueError, match="no distillation token: choose a distilled one"):
        plain.both(features)


@pytest.mark.parametrize("distilled", [True, False])
def test_a_classifier_is_its_backbone_then_its_head(distilled):
    config = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2), distilled=distilled)
    model = create_model(config, num_classes=3, image_size=(4, 6)).eval()
    images = torch.randn(5, 3, 4, 6)
    features = model.forward_features(images)
    assert torch.equal(features.tokens, model.backbone(images).tokens)
    assert torch.equal(model.forward_head(features), model(images))
    vector = model.forward_head(features, pre_logits=True)
    assert torch.equal(vector, model.get_classifier().pooled(features))
    assert vector.shape == (5, 8)
    layers = model.get_intermediate_layers(images, 1, reshape=True)
    assert torch.equal(layers[0], features.maps[2])
    model.set_grad_checkpointing()
    assert model.backbone.grad_checkpointing


def test_a_fresh_head_for_other_classes_leaves_the_rest_alone():
    config = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2), distilled=True)
    model = create_model(config, num_classes=3, image_size=(4, 6)).double().eval()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert not model.head.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert model(torch.randn(2, 3, 4, 6, dtype=torch.float64)).shape == (2, 7)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_a_hidden_layer_is_read_by_the_last(randomise):
    config = ClassificationConfig(pooling="mean", hidden=11)
    head = randomise(ClassificationTask("kind", CLASSES, config).head(FeatureSpec(7, (3, 5), 2, "cls", {})))
    features = Features(torch.randn(2, 15, 7), torch.randn(2, 2, 7), (3, 5), {})
    x = features.tokens.mean(1) @ head.hidden[0].weight.T + head.hidden[0].bias
    vector = x * (1 + torch.erf(x / 2**0.5)) / 2
    assert vector.shape == (2, 11)
    torch.testing.assert_close(head.pooled(features), vector)
    torch.testing.assert_close(head(features), vector @ head.fc.weight.T + head.fc.bias)


def test_both_tokens_of_a_distilled_backbone_have_hidden_layers_of_their_own(randomise):
    spec = FeatureSpec(7, (3, 5), 2, "cls", {}, distilled=True)
    head = randomise(ClassificationTask("kind", CLASSES, ClassificationConfig(hidden=11)).head(spec))
    features = Features(torch.randn(2, 15, 7), torch.randn(2, 2, 7), (3, 5), {})
    x = features.prefix[:, 1] @ head.hidden_dist[0].weight.T + head.hidden_dist[0].bias
    expected = torch.nn.functional.gelu(x) @ head.fc_dist.weight.T + head.fc_dist.bias
    first, second = head.both(features)
    torch.testing.assert_close(second, expected)
    torch.testing.assert_close(head(features), (first + second) / 2)
    assert head.fc_dist.in_features == head.fc.in_features == 11


@pytest.mark.parametrize("distilled", [True, False])
def test_a_plain_head_has_the_same_parameters_whatever_it_could_have(distilled):
    head = task().head(FeatureSpec(7, (3, 5), 2, "cls", {}, distilled=distilled))
    names = ["fc.weight", "fc.bias"] + ["fc_dist.weight", "fc_dist.bias"] * distilled
    assert list(head.state_dict()) == names


def test_task_knows_its_name_and_target_column():
    assert (task().name, task().target, task().names) == ("kind", "species", CLASSES)


def test_settings_that_make_no_sense_are_refused():
    for value, rule in ((-0.1, "at least 0"), (1.0, "below 1")):
        with pytest.raises(ValueError, match=f"label_smoothing must be {rule}, given {value}"):
            ClassificationConfig(label_smoothing=value)
    with pytest.raises(ValueError, match="pooling must be auto, mean or seq, given 'max'"):
        ClassificationConfig(pooling="max")
    with pytest.raises(ValueError, match="hidden must be at least 1, given 0"):
        ClassificationConfig(hidden=0)
    with pytest.raises(ValueError, match="num_classes must be at least 1, given 0"):
        ClassificationHead(FeatureSpec(7, (3, 5), 0, "mean", {}), 0)
