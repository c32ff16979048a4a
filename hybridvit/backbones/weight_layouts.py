"""Published state dicts under our names: timm's layout, and the authors' of DeiT, ConViT, CaiT, T2T-ViT and CCT.

Our names are those of a classifier: what is not under ``head.`` belongs to the backbone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]

# DeiT's, ConViT's, CaiT's and timm's names, and torchvision's of CNNs; a layer alone has them without a prefix.
VIT: Rules = (
    (r"^patch_embed\.backbone\.stages\.(\d+)\.blocks\.", r"tokenizer.cnn.stages.\1."),
    (r"^patch_embed\.backbone\.(stem\.)?(conv|norm)\.", r"tokenizer.cnn.stem.\2."),
    (r"^patch_embed\.", "tokenizer."),
    (r"^blocks_token_only\.", "class_blocks."),
    (r"(^|\.)attn\.", r"\1attention."),
    (r"(^|\.)mlp\.", r"\1feedforward."),
    (r"\.(gamma_|ls)([12])(\.gamma)?$", r".scale\2"),
    (r"(^|\.)proj_l\.weight$", r"\1mix_scores.weight"),
    (r"(^|\.)proj_w\.", r"\1mix_weights."),
    (r"(^|\.)pos_proj\.weight$", r"\1position"),
    (r"(^|\.)gating_param$", r"\1gate"),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"^head_dist\.", "head.fc_dist."),
    (r"^(fc|classifier|classifier\.1)\.(weight|bias)$", r"head.fc.\2"),
)
T2T: Rules = (
    (r"^tokens_to_token\.attention1\.", "tokenizer.stages.0."),
    (r"^tokens_to_token\.attention2\.", "tokenizer.stages.1."),
    (r"^tokens_to_token\.project\.", "tokenizer.proj."),
    (r"^(tokenizer\.stages\.\d)\.attn\.", r"\1."),
    (r"^(tokenizer\.stages\.\d)\.w$", r"\1.random_features"),
    (r"^(tokenizer\.stages\.\d)\.mlp\.(0|fc1)\.", r"\1.feedforward.fc1."),
    (r"^(tokenizer\.stages\.\d)\.mlp\.(2|fc2)\.", r"\1.feedforward.fc2."),
)
CCT: Rules = (
    (r"^tokenizer\.conv_layers\.(\d+)\.0\.", r"tokenizer.convs.\1."),
    (r"^classifier\.positional_emb$", "pos_embed"),
    (r"^classifier\.class_emb$", "cls_token"),
    (r"^classifier\.attention_pool\.", "head.pool.score."),
    (r"^classifier\.fc\.", "head.fc."),
    (r"^classifier\.(blocks|norm)\.", r"\1."),
    (r"\.norm1\.", ".norm2."),
    (r"\.pre_norm\.", ".norm1."),
    (r"\.self_attn\.", ".attention."),
    (r"\.linear([12])\.", r".feedforward.fc\1."),
)

# Tensors that change nothing, and why.
WITHOUT_EFFECT: Rules = (
    (r"(^|\.)pos_proj\.bias$", "a bias on position scores cancels in their softmax"),
    (r"(^|\.)proj_l\.bias$", "a bias before the softmax cancels in it"),
)


def our_names(state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
    """A published state dict under our names, and what was left out of it with the reasons."""
    left_out = {name: reason for name in state for pattern, reason in WITHOUT_EFFECT if re.search(pattern, name)}
    if "classifier.6.weight" in state:  # AlexNet and VGG
        reason = "fully connected layers of the CNN, replaced by mean pooling and one linear layer"
        left_out |= {name: reason for name in state if name.startswith("classifier.")}
    rules = VIT
    if any(name.startswith("tokens_to_token.") for name in state):
        rules = T2T + VIT
    elif any(name.startswith("classifier.blocks.") for name in state):
        rules = CCT
    renamed = {_rename(name, rules): tensor for name, tensor in state.items() if name not in left_out}
    _merge_projections(renamed)
    if rules is CCT and "tokenizer.convs.0.bias" in renamed:  # ViT-Lite and CVT: one convolution that cuts patches
        for part in ("weight", "bias"):
            renamed[f"tokenizer.proj.{part}"] = renamed.pop(f"tokenizer.convs.0.{part}")
    _split_positions(renamed)
    return renamed, left_out


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _split_positions(state: State) -> None:
    """Class token, distillation token and position embedding as our prefix tokens and the positions of the patches.

    Published models add the first rows of the position embedding to the prefix tokens; here these rows
    are part of the tokens.
    """
    tokens = [state.pop(name).flatten(0, -2) for name in ("cls_token", "dist_token") if name in state]
    if tokens:
        state["prefix"] = torch.cat(tokens)
    if "pos_embed" not in state:
        return
    positions = state.pop("pos_embed").flatten(0, -2)
    # The class token enters after the positions are added, in ConViT and CaiT.
    late = any(name.endswith(".gate") or name.startswith("class_blocks.") for name in state)
    if tokens and not late:
        count = len(state["prefix"])
        state["prefix"] = state["prefix"] + positions[:count]
        positions = positions[count:]
    state["position.embedding"] = positions


def _merge_projections(state: State) -> None:
    """One tensor with the rows of q, k, v in this order, from separate ones or another order."""
    for name in list(state):
        match = re.fullmatch(r"(.*\.)?(qk|k|kqv)\.(\w+)", name)
        if match is None:
            continue
        owner, layer, part = match.groups(default="")
        if layer == "kqv":
            k, q, v = state.pop(name).chunk(3)
            state[f"{owner}qkv.{part}"] = torch.cat([q, k, v])
        elif f"{owner}v.{part}" in state:
            state[f"{owner}{layer}v.{part}"] = torch.cat([state.pop(name), state.pop(f"{owner}v.{part}")])
