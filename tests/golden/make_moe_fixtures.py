"""Regenerate tests/golden/experts: tiny random mixtures of experts, and the reference library's logits for them.

    pip install llama-cpp-python==0.3.36 transformers==5.23.0 torch numpy
    LLAMA_CPP=.../llama.cpp OMP_WAIT_POLICY=passive python make_moe_fixtures.py [--out DIR] [NAME ...]

LLAMA_CPP is the source tree of the same llama.cpp, for its converter and its `gguf`; the source package of llama-cpp-python
has it in vendor/llama.cpp. Without NAME all are made. For each fixture there will be

    NAME.gguf   a model of a few layers, made with `transformers`, written by the converter
    NAME.json   sequences of tokens with logits after some of them, and what llama.cpp generates

The logits are those of `transformers` in f32. The weights are rounded to F16 before anything is computed, so that a file in
F16 has the reference's weights to the bit. llama.cpp must agree when it runs the same weights in F32 with a KV cache of f32;
`peer` says how closely it does, and how closely it does with the file itself and its default settings. Its greedy tokens
are the same for the file and for the twin in F32.

Where a file is quantized its logits are llama.cpp's, since the rounding of the activations is part of what is compared. The
reference then has the dequantized weights, and `peer` says how far the two are from each other.

Two experts with nearly the same score would make parity a coin toss, and so would two tokens with nearly the same logit.
Tokens are therefore chosen such that the last expert that is used leads the first that is not by `router_gap` of its score,
in all layers at all positions, and the generated tokens lead by `margin` of the range of the logits. Weights with which a KV
cache of f16 alone would take most of a tolerance of 1e-3 are drawn anew, and those where rounded activations change much.

The rest (contrasts, differences, JSON) is as make_arch_fixtures.py has it.
"""

import argparse
import ctypes
import json
import logging
import os
import pathlib
import sys
import tempfile
import types
import zlib
from dataclasses import dataclass, field, replace

os.environ.setdefault("TQDM_DISABLE", "1")
TREE = pathlib.Path(os.environ["LLAMA_CPP"])
sys.path[:0] = [str(TREE), str(TREE / "gguf-py")]

import gguf
import llama_cpp as lc
import numpy as np
import torch
import transformers
from conversion import ModelBase, get_model_class
from gguf import GGMLQuantizationType as T
from safetensors.torch import load_file, save_file

import make_arch_fixtures as arch

REFERENCE = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
N_TOKENS = 130  # More than two chunks of 64 in the reference's recurrent layers.
POSITIONS = [0, 6, 15, 40, 63, 64, 100, 129]
N_SHORT = 9
N_PROMPT = 12
N_GREEDY = 16
LEAST_GAP = 1e-2
LEAST_MARGIN = 1e-2
# Rounded activations move logits by a hundredth of their range.
LEAST_QUANTIZED_GAP = 6e-2
LEAST_QUANTIZED_MARGIN = 3e-2
MOST_DIFFERENCE = 1e-4
MOST_WITH_HALF = 8e-4
MOST_QUANTIZED = 2e-2
GAINS = {
    "q_proj": 1.2, "q_b_proj": 1.2, "k_proj": 1.2, "o_proj": 0.7, "gate": 2.0, "router": 2.0, "gate_up_proj": 1.3, "lm_head": 2.0
}
TYPES = {T.F16: gguf.LlamaFileType.MOSTLY_F16, T.F32: gguf.LlamaFileType.ALL_F32}


class Unsuitable(Exception):
    """What speaks against the weights that were drawn."""


@dataclass(frozen=True)
class Fixture:
    """A model to be made. The weights depend on `seed` and each parameter's name, and on nothing else."""

    kind: str  # What the reference's classes begin with.
    config: dict
    seed: str = ""
    written: dict = field(default_factory=dict)  # to config.json only, for the converter
    type: T = T.F16
    fused: bool = False  # gate and up of the experts in one tensor
    mtp: bool = False  # with a further block, for the token after the next
    factors: dict = field(default_factory=dict)  # of parameters, by the end of the name
    contrasts: tuple = ()  # changes of the configuration that lose the trait

    @property
    def quantized(self):
        return self.type not in TYPES

    @property
    def least_gap(self):
        return LEAST_QUANTIZED_GAP if self.quantized else LEAST_GAP

    @property
    def least_margin(self):
        return LEAST_QUANTIZED_MARGIN if self.quantized else LEAST_MARGIN


# --- the reference --------------------------------------------------------------------------------


def drawn(f, name, shape, inputs):
    """The values of a parameter. As in make_arch_fixtures.py attention looks at few positions."""
    rng = np.random.default_rng(zlib.crc32(f"{f.seed}/{name}".encode()))
    short = name.removesuffix(".weight").rpartition(".")[2]
    if short == "A_log":
        # From hardly forgetting to forgetting within a few tokens.
        values = np.log(rng.uniform(0.02, 1.5, shape))
    elif short == "sinks":
        values = rng.normal(1.0, 1.0, shape)
    elif short == "e_score_correction_bias":
        values = rng.normal(0.0, 0.15, shape)
    elif "norm" in short:
        zero_centred = f.kind in ("Qwen3Next", "Qwen3_5Moe") and "linear_attn" not in name
        values = rng.normal(0.0 if zero_centred else 1.0, 0.2, shape)
    elif len(shape) == 1 or short.endswith("bias"):
        values = rng.normal(0.0, 0.5, shape)
    elif short == "embed_tokens":
        # A head that is tied must not favour the token that was just read.
        tied = f.config["tie_word_embeddings"]
        values = rng.normal(0.0, 0.5 / f.config.get("embedding_multiplier", 1.0) if tied else 1.0, shape)
    else:
        values = rng.normal(0.0, GAINS.get(short, 1.0) / np.sqrt(inputs), shape)
    factor = next((factor for end, factor in f.factors.items() if name.endswith(end)), 1.0)
    return (values * factor).astype(np.float16).astype(np.float32)


def through(f, values, axis):
    """`values` as they are after quantization, in blocks along `axis`."""
    if not f.quantized or values.shape[axis] % gguf.GGML_QUANT_SIZES[f.type][0]:
        return values
    rows = np.moveaxis(values, axis, -1)
    stored = arch.store(rows.reshape(-1, rows.shape[-1]), f.type)
    return np.moveaxis(gguf.quants.dequantize(stored, f.type).reshape(rows.shape), -1, axis).copy()


def reference(f):
    """The reference's model, with its weights."""
    config = getattr(transformers, CONFIGS.get(f.kind, f"{f.kind}Config"))(
        **f.config, attn_implementation="eager", experts_implementation="eager"
    )
    model = getattr(transformers, f"{f.kind}ForCausalLM")(config).eval()
    transposed = f.kind == "GptOss"  # Its experts multiply from the other side.
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if "rotary_emb" in name:
            continue
        axis = 1 if transposed and parameter.ndim == 3 else -1
        values = drawn(f, name, tuple(parameter.shape), parameter.shape[axis])
        if stored_quantized(f, name, parameter.ndim):
            values = through(f, values, axis)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
    return model


def stored_quantized(f, name, dims):
    """Whether the reference's parameter, or the tensor, is quantized in the file: the matrices, but no routers, no convolutions.
    In MXFP4 the experts only, as gpt-oss is published."""
    if dims < 2 or any(part in name for part in ("bias", "conv1d", "ffn_gate_inp", "shared_expert_gate")):
        return False
    if name.removesuffix(".weight").endswith((".gate", ".router")):
        return False
    return f.type != T.MXFP4 or "exps" in name or "experts" in name


def leads(scores, used):
    """By how much the worst of the `used` best leads the best of the others, as a part of its score."""
    if used >= scores.shape[-1]:
        return torch.full(scores.shape[:-1], torch.inf)
    best = torch.topk(scores, used + 1, dim=-1).values
    return (best[..., used - 1] - best[..., used]) / best[..., used - 1].abs()


def router_lead(router, logits):
    bias = getattr(router, "e_score_correction_bias", None)
    scores = torch.softmax(logits, -1) if bias is None else torch.sigmoid(logits) + bias
    groups = getattr(router, "num_group", None) or 1
    if groups == 1 or getattr(router, "topk_method", None) == "greedy":
        return leads(scores, router.top_k)
    grouped = scores.unflatten(-1, (groups, -1))
    of_groups = grouped.topk(2, -1).values.sum(-1)
    chosen = torch.zeros_like(of_groups).scatter(-1, of_groups.topk(router.topk_group, -1).indices, 1.0)
    within = torch.where(chosen[..., None] > 0, grouped, -torch.inf).flatten(-2)
    return torch.minimum(leads(of_groups, router.topk_group), leads(within, router.top_k))


def forward(model, tokens):
    """Logits after each token, and the least lead of a router at each."""
    found = []

    def note(router, _inputs, outputs):
        found.append(router_lead(router, outputs[0].reshape(len(tokens), -1)))

    routers = [module for module in model.modules() if type(module).__name__.lower().endswith("topkrouter")]
    assert routers
    hooks = [router.register_forward_hook(note) for router in routers]
    with torch.inference_mode():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits.float().numpy(), torch.stack(found).min(0).values.numpy()


def repaired(model, rng, count, least):
    """`count` tokens at which no router is undecided."""
    vocab = model.config.vocab_size
    tokens = [1] + [int(t) for t in rng.integers(3, vocab, count - 1)]
    for _ in range(20 * count):
        _, lead = forward(model, tokens)
        undecided = np.flatnonzero(lead < least)
        if len(undecided) == 0:
            return tokens
        tokens[undecided[0]] = int(rng.integers(3, vocab))
    raise Unsuitable("no tokens at which the routers are decided")


def generated(model, rng, f):
    """A prompt, what follows it, and the least margin by which a token wins."""
    for _ in range(1000):
        prompt = repaired(model, rng, N_PROMPT, f.least_gap)
        tokens, margins = list(prompt), []
        while len(tokens) < N_PROMPT + N_GREEDY:
            logits, lead = forward(model, tokens)
            first, second = np.sort(logits[-1])[:-3:-1]
            margins.append(float((first - second) / np.ptp(logits[-1])))
            if margins[-1] < f.least_margin or lead[-1] < f.least_gap:
                break
            tokens.append(int(logits[-1].argmax()))
        else:
            # A loop of one token says little, and at the end of a text one would stop.
            if len(set(tokens[N_PROMPT:])) >= N_GREEDY // 4 and min(tokens[N_PROMPT:]) > 2:
                return prompt, tokens[N_PROMPT:], min(margins)
    raise Unsuitable("no prompt after which the tokens are certain")


# --- the converter --------------------------------------------------------------------------------


def add_mtp(f, directory):
    """Gives the model in `directory` the block of multi-token prediction that published models have. No logits depend on it."""
    path, layers, dim = directory / "model.safetensors", f.config["num_hidden_layers"], f.config["hidden_size"]
    tensors = load_file(path)
    if f.kind == "Glm4Moe":
        block, key = f"model.layers.{layers}.", "num_nextn_predict_layers"
        further = [f"{block}{name}.weight" for name in ("eh_proj", "enorm", "hnorm", "shared_head.norm")]
    else:
        block, key = "mtp.layers.0.", "mtp_num_hidden_layers"
        further = [f"mtp.{name}.weight" for name in ("fc", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")]
    last = f"model.layers.{layers - 1}."
    tensors |= {block + name.removeprefix(last): t.clone() for name, t in tensors.items() if name.startswith(last)}
    for name, shape in zip(further, [(dim, 2 * dim), (dim,), (dim,), (dim,)]):
        tensors[name] = torch.from_numpy(drawn(f, name, shape, shape[-1]))
    save_file(tensors, path, {"format": "pt"})
    return {key: 1}


def convert(f, directory, path, ty):
    hparams = ModelBase.load_hparams(directory, False)
    model_class = get_model_class(hparams["architectures"][0])
    name = gguf.MODEL_ARCH_NAMES[model_class.model_arch]
    few = types.SimpleNamespace(vocab=hparams["vocab_size"], tokenizer="gpt2", arch=name)

    class WithFewTokens(model_class):
        model_arch = model_class.model_arch
        no_mtp = model_class.supports_mtp_export and not f.mtp

        def set_vocab(self):
            arch.vocabulary(self.gguf_writer, few)

    WithFewTokens(directory, TYPES[ty], path, eager=True, model_name=path.stem, fuse_gate_up_exps=f.fused).write()


def quantize(f, twin, path):
    """The file `twin`, with its matrices in the fixture's type."""
    reader = gguf.GGUFReader(twin)
    name = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, name)
    for key, value in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = value.types[-1] if value.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value.contents(), value.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = tensor.data
        if not stored_quantized(f, tensor.name, values.ndim) or values.shape[-1] % gguf.GGML_QUANT_SIZES[f.type][0]:
            writer.add_tensor(tensor.name, values.copy())
            continue
        stored = arch.store(values.reshape(-1, values.shape[-1]), f.type)
        again = gguf.quants.dequantize(stored, f.type).reshape(values.shape)
        assert np.array_equal(again, values), f"{tensor.name} changes when it is quantized once more"
        writer.add_tensor(tensor.name, stored.reshape(*values.shape[:-1], -1), raw_dtype=f.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- the fixtures ---------------------------------------------------------------------------------

CONFIGS = {"Qwen3_5Moe": "Qwen3_5MoeTextConfig"}
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 256, "intermediate_size": 12, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}


def rope(base=10000.0, **keys):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": base} | keys}


def yarn(base=1000.0, factor=4.0, **keys):
    return rope(base, rope_type="yarn", factor=factor, original_max_position_embeddings=64, **keys)


def experts(count, used, name="num_experts"):
    return {name: count, "num_experts_per_tok": used}


def of(kind, base, *contrasts, **keys):
    options = {key: keys.pop(key) for key in ("written", "type", "factors", "fused", "mtp") if key in keys}
    return Fixture(kind, SHAPE | base | keys, contrasts=contrasts, **options)


DEFAULT = rope()
LINEAR = rope(1000.0, rope_type="linear", factor=4.0)
ODD_HEADS = {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 10}
ONE_KV_HEAD = {"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 10}
TIED = {"tie_word_embeddings": True}

QWEN3MOE = {"head_dim": 12, "moe_intermediate_size": 12, "norm_topk_prob": True} | experts(8, 2) | rope(1e6)
OLMOE = {"num_key_value_heads": 4, "rms_norm_eps": 1e-5} | experts(8, 3) | DEFAULT
MIXTRAL = {"head_dim": 12, "rms_norm_eps": 1e-5} | experts(5, 2, "num_local_experts") | rope(1e6)
QWEN2MOE = {"moe_intermediate_size": 12, "shared_expert_intermediate_size": 28} | experts(6, 2) | rope(1e6)
GRANITE = {
    "embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.6, "attention_multiplier": 0.5,
} | experts(6, 2, "num_local_experts") | DEFAULT
GPT_OSS = {
    "head_dim": 12, "sliding_window": 16, "num_hidden_layers": 3, "rms_norm_eps": 1e-5,
} | experts(4, 2, "num_local_experts") | yarn(truncate=True)
# The clamps of the gate at 7 and of the other part at -7 and 7 must be reached.
LARGE_EXPERTS = {"gate_up_proj": 2.0, "gate_up_proj_bias": 5.0}
LINEAR_ATTENTION = {
    "head_dim": 16, "num_hidden_layers": 4, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 20,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
QWEN3NEXT = LINEAR_ATTENTION | experts(5, 2) | rope(1e4, partial_rotary_factor=0.25)
QWEN35MOE = LINEAR_ATTENTION | experts(5, 2) | rope(1e4, partial_rotary_factor=0.25, mrope_section=[1, 1, 0])
IRREGULAR = {
    "layer_types": [f"{kind}_attention" for kind in ("full", "linear", "linear", "full", "linear")], "num_hidden_layers": 5
}
EQUAL_HEADS = {"linear_num_key_heads": 3, "linear_num_value_heads": 3}
MLA = {
    "num_key_value_heads": 4, "q_lora_rank": 18, "kv_lora_rank": 20, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8,
    "v_head_dim": 14, "intermediate_size": 40, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "num_hidden_layers": 3,
}
V2 = MLA | {"n_shared_experts": 2, "topk_method": "greedy"} | experts(6, 3, "n_routed_experts") | DEFAULT
# llama.cpp takes queries without a low rank from models of this depth only.
V2_LITE = V2 | {
    "q_lora_rank": None, "num_hidden_layers": 27, "first_k_dense_replace": 23, "hidden_size": 16, "num_attention_heads": 2,
    "num_key_value_heads": 2, "kv_lora_rank": 12, "intermediate_size": 16, "moe_intermediate_size": 8,
}
# So many layers must not add up to chaos.
CALM = {"o_proj.weight": 0.4, "down_proj.weight": 0.4, "experts.down_proj": 0.4}
V3 = MLA | {
    "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5,
} | experts(8, 3, "n_routed_experts") | DEFAULT
NO_GROUPS = {"n_group": 1, "topk_group": 1}
NOAUX_TC = {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}
GLM4MOE = {
    "head_dim": 12, "intermediate_size": 40, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "num_hidden_layers": 3,
    "n_shared_experts": 1, "routed_scaling_factor": 1.5, "norm_topk_prob": True, "use_qk_norm": True, "attention_bias": True,
    "rms_norm_eps": 1e-5,
} | NO_GROUPS | experts(8, 3, "n_routed_experts") | rope(partial_rotary_factor=0.5)
# Rows of whole blocks.
BLOCKS = {"hidden_size": 64, "moe_intermediate_size": 32, "num_attention_heads": 4, "head_dim": 16, "num_hidden_layers": 2}
FEW = experts(4, 2)
# Routers that are more decided, for activations that are rounded.
SHARP = {"mlp.gate.weight": 2.0, "mlp.router.weight": 2.0}

FIXTURES = {
    "qwen3moe": of("Qwen3Moe", QWEN3MOE, {"norm_topk_prob": False}, type=T.F32),
    "qwen3moe-odd-heads": of("Qwen3Moe", QWEN3MOE | ODD_HEADS | experts(5, 3)),
    "qwen3moe-one-expert": of("Qwen3Moe", QWEN3MOE | ONE_KV_HEAD | TIED | experts(1, 1)),
    "qwen3moe-all-experts": of("Qwen3Moe", QWEN3MOE | experts(4, 4), {"num_experts_per_tok": 3}),
    "qwen3moe-yarn": of("Qwen3Moe", QWEN3MOE | yarn(), rope(1000.0), LINEAR),
    "qwen3moe-q8-0": of("Qwen3Moe", QWEN3MOE | BLOCKS | FEW, type=T.Q8_0, factors=SHARP),
    "qwen3moe-q4-0": of("Qwen3Moe", QWEN3MOE | BLOCKS, type=T.Q4_0, factors=SHARP),
    "olmoe": of("Olmoe", OLMOE, {"norm_topk_prob": True}),
    "olmoe-odd-heads": of("Olmoe", OLMOE, hidden_size=30, num_attention_heads=3, num_key_value_heads=3),
    "olmoe-one-expert": of("Olmoe", OLMOE | experts(1, 1)),
    "olmoe-all-experts": of("Olmoe", OLMOE | experts(3, 3), {"num_experts_per_tok": 2}),
    "olmoe-linear": of("Olmoe", OLMOE | LINEAR, rope(1000.0)),
    "mixtral": of("Mixtral", MIXTRAL, {"num_experts_per_tok": 1}),
    "mixtral-odd-heads": of("Mixtral", MIXTRAL | ONE_KV_HEAD | experts(3, 3, "num_local_experts")),
    "mixtral-one-expert": of("Mixtral", MIXTRAL | TIED | experts(1, 1, "num_local_experts")),
    "mixtral-first-expert": of("Mixtral", MIXTRAL | experts(4, 1, "num_local_experts")),
    "mixtral-factors": of(
        "Mixtral",
        MIXTRAL | {"head_dim": 16} | rope(
            500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
        ),
        rope(500.0),
    ),
    "mixtral-yarn": of("Mixtral", MIXTRAL | yarn(factor=16.0), rope(1000.0), yarn()),
    "qwen2moe": of("Qwen2Moe", QWEN2MOE, {"norm_topk_prob": True}),
    "qwen2moe-no-bias": of("Qwen2Moe", QWEN2MOE | experts(4, 3), qkv_bias=False),
    "qwen2moe-odd-heads": of(
        "Qwen2Moe", QWEN2MOE | experts(3, 3), {"num_experts_per_tok": 2}, hidden_size=30, num_attention_heads=3,
        num_key_value_heads=1,
    ),
    "qwen2moe-one-expert": of("Qwen2Moe", QWEN2MOE | experts(1, 1)),
    "qwen2moe-yarn": of("Qwen2Moe", QWEN2MOE | yarn(), rope(1000.0)),
    "granitemoe": of(
        "GraniteMoe", GRANITE | TIED,
        {"embedding_multiplier": 1.0}, {"logits_scaling": 1.0}, {"residual_multiplier": 1.0}, {"attention_multiplier": 8 ** -0.5},
    ),
    "granitemoe-shared": of("GraniteMoeShared", GRANITE, shared_intermediate_size=20),
    "granitemoe-odd-heads": of(
        "GraniteMoe", GRANITE | experts(3, 3, "num_local_experts"), hidden_size=30, num_attention_heads=5, num_key_value_heads=1
    ),
    "granitemoe-one-expert": of("GraniteMoeShared", GRANITE | experts(1, 1, "num_local_experts"), shared_intermediate_size=12),
    "granitemoe-biases": of("GraniteMoe", GRANITE, attention_bias=True),
    "gpt-oss": of("GptOss", GPT_OSS, rope(1000.0), {"sliding_window": 17}, {"swiglu_limit": 100.0}, factors=LARGE_EXPERTS),
    "gpt-oss-odd-heads": of("GptOss", GPT_OSS | ODD_HEADS | experts(3, 3, "num_local_experts") | DEFAULT),
    "gpt-oss-one-expert": of(
        "GptOss", GPT_OSS | ONE_KV_HEAD | experts(1, 1, "num_local_experts"), {"swiglu_limit": 100.0}, factors=LARGE_EXPERTS
    ),
    "gpt-oss-mxfp4": of(
        "GptOss", GPT_OSS | BLOCKS, hidden_size=64, intermediate_size=32, sliding_window=24, type=T.MXFP4,
        factors={"gate_up_proj": 1.5} | SHARP,
    ),
    "qwen3next": of("Qwen3Next", QWEN3NEXT, {"norm_topk_prob": False}),
    "qwen3next-odd-heads": of(
        "Qwen3Next", QWEN3NEXT | ODD_HEADS | EQUAL_HEADS | experts(5, 3), num_hidden_layers=3, full_attention_interval=3
    ),
    "qwen3next-one-expert": of(
        "Qwen3Next", QWEN3NEXT | TIED | experts(1, 1), linear_num_value_heads=2, linear_conv_kernel_dim=3
    ),
    "qwen3next-all-experts": of("Qwen3Next", QWEN3NEXT | experts(3, 3), linear_num_key_heads=1, linear_num_value_heads=3),
    "qwen3next-irregular": of("Qwen3Next", QWEN3NEXT | IRREGULAR | experts(4, 2)),
    "qwen3next-yarn": of(
        "Qwen3Next", QWEN3NEXT | yarn(partial_rotary_factor=0.5), rope(1000.0, partial_rotary_factor=0.5), num_hidden_layers=2,
        full_attention_interval=2, head_dim=24,
    ),
    "qwen35moe": of("Qwen3_5Moe", QWEN35MOE, rope(1e4, partial_rotary_factor=0.5)),
    "qwen35moe-odd-heads": of(
        "Qwen3_5Moe", QWEN35MOE | ODD_HEADS | EQUAL_HEADS | experts(5, 3), num_hidden_layers=3, full_attention_interval=3
    ),
    "qwen35moe-one-expert": of(
        "Qwen3_5Moe", QWEN35MOE | TIED | experts(1, 1), linear_num_value_heads=2, linear_conv_kernel_dim=3
    ),
    "qwen35moe-all-experts": of("Qwen3_5Moe", QWEN35MOE | experts(3, 3), linear_num_key_heads=1, linear_num_value_heads=3),
    "qwen35moe-tiled": of(
        "Qwen3_5Moe", QWEN35MOE | experts(4, 2), num_hidden_layers=3, full_attention_interval=3, linear_num_key_heads=3,
        linear_num_value_heads=6, linear_key_head_dim=6, linear_value_head_dim=6,
    ),
    "qwen35moe-irregular": of("Qwen3_5Moe", QWEN35MOE | IRREGULAR | experts(4, 2)),
    "qwen35moe-fused": of(
        "Qwen3_5Moe", QWEN35MOE | experts(4, 2), num_hidden_layers=2, full_attention_interval=2, fused=True
    ),
    "qwen35moe-mtp": of("Qwen3_5Moe", QWEN35MOE | experts(3, 2), num_hidden_layers=2, full_attention_interval=2, mtp=True),
    "qwen35moe-yarn": of(
        "Qwen3_5Moe", QWEN35MOE | yarn(partial_rotary_factor=0.5, mrope_section=[2, 2, 2]),
        rope(1000.0, partial_rotary_factor=0.5), num_hidden_layers=2, full_attention_interval=2, head_dim=24,
    ),
    "qwen35moe-q8-0": of(
        "Qwen3_5Moe", QWEN35MOE | BLOCKS | FEW, num_hidden_layers=2, full_attention_interval=2, linear_key_head_dim=32,
        linear_value_head_dim=32, linear_num_key_heads=1, linear_num_value_heads=2, shared_expert_intermediate_size=32,
        type=T.Q8_0, factors=SHARP | {"out_proj.weight": 0.5},
    ),
    "deepseek2-v2": of("DeepseekV2", V2, {"routed_scaling_factor": 1.0}, routed_scaling_factor=2.0),
    "deepseek2-v2-lite": of("DeepseekV2", V2_LITE, factors=CALM),
    "deepseek2-v2-few-heads": of("DeepseekV2", V2, num_attention_heads=2, num_key_value_heads=2, first_k_dense_replace=0),
    "deepseek2-v2-yarn": of(
        "DeepseekV2", V2 | yarn(mscale=0.707, mscale_all_dim=0.707), rope(1000.0), yarn(mscale=0.0, mscale_all_dim=0.0)
    ),
    "deepseek2-v2-one-expert": of("DeepseekV2", V2 | TIED | experts(1, 1, "n_routed_experts"), n_shared_experts=1),
    "deepseek2-v3": of(
        "DeepseekV3", V3, NO_GROUPS, {"norm_topk_prob": False}, {"routed_scaling_factor": 1.0}, written=NOAUX_TC
    ),
    "deepseek2-v3-no-groups": of(
        "DeepseekV3", V3 | NO_GROUPS | TIED | experts(5, 2, "n_routed_experts"), {"norm_topk_prob": True}, written=NOAUX_TC,
        norm_topk_prob=False, first_k_dense_replace=2, n_shared_experts=2,
    ),
    "deepseek2-v3-odd-heads": of(
        "DeepseekV3", V3 | NO_GROUPS | experts(3, 3, "n_routed_experts"), written=NOAUX_TC, hidden_size=30, num_attention_heads=3,
        num_key_value_heads=3, qk_rope_head_dim=6, v_head_dim=9, qk_nope_head_dim=7, first_k_dense_replace=0,
    ),
    "deepseek2-v3-yarn": of(
        "DeepseekV3", V3 | yarn(factor=8.0, mscale=1.0, mscale_all_dim=1.0), rope(1000.0), written=NOAUX_TC
    ),
    "glm4moe": of("Glm4Moe", GLM4MOE, {"norm_topk_prob": False}, {"routed_scaling_factor": 1.0}),
    "glm4moe-groups": of(
        "Glm4Moe", GLM4MOE, NO_GROUPS, n_group=4, topk_group=2, use_qk_norm=False, first_k_dense_replace=0, n_shared_experts=2,
        num_hidden_layers=2,
    ),
    "glm4moe-odd-heads": of(
        "Glm4Moe", GLM4MOE | ODD_HEADS | TIED | experts(3, 3, "n_routed_experts") | rope(partial_rotary_factor=0.4),
        {"norm_topk_prob": True}, attention_bias=False, norm_topk_prob=False,
    ),
    "glm4moe-mtp": of("Glm4Moe", GLM4MOE | experts(4, 2, "n_routed_experts"), num_hidden_layers=2, mtp=True),
    "glm4moe-yarn": of(
        "Glm4Moe", GLM4MOE | yarn(partial_rotary_factor=0.5), rope(1000.0, partial_rotary_factor=0.5), head_dim=16
    ),
}


def reference_of_contrast(f, model, changes):
    """The model with the same weights and another configuration."""
    other = reference(replace(f, config=f.config | changes))
    other.load_state_dict(model.state_dict(), strict=True)
    return other


def rounded(x):
    return float(f"{x:.2e}")


def rows(logits, positions):
    # The shortest digits that give back the same f32.
    return [{"position": p, "logits": [float(str(x)) for x in logits[p]]} for p in positions]


def dumped(value):
    return json.dumps(value, separators=(",", ":"))


def dumped_rows(value):
    return "[\n" + ",\n".join("  " + dumped(row) for row in value) + "\n ]"


def make(name, f, out, scratch):
    for attempt in range(20):
        try:
            return made(name, replace(f, seed=f"{name}/{attempt}"), out, scratch / name / str(attempt))
        except Unsuitable as reason:
            print(f"{name}, seed {attempt}: {reason}", flush=True)
    raise SystemExit(f"{name}: no seed does")


def made(name, f, out, scratch):
    model = reference(f)
    directory, path, twin = scratch / "model", out / f"{name}.gguf", scratch / f"{name}.gguf"
    model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text())
    mtp = add_mtp(f, directory) if f.mtp else {}
    (directory / "config.json").write_text(json.dumps(config | f.written | mtp))
    convert(f, directory, twin, T.F32)
    if f.quantized:
        quantize(f, twin, path)
    else:
        convert(f, directory, path, f.type)
    assert path.stat().st_size <= arch.MOST_BYTES, f"{name}: {path.stat().st_size} bytes"

    rng = np.random.default_rng(zlib.crc32(f.seed.encode()))
    tokens, short = (repaired(model, rng, count, f.least_gap) for count in (N_TOKENS, N_SHORT))
    (expected, lead), (expected_short, lead_short) = forward(model, tokens), forward(model, short)
    gap = float(min(lead.min(), lead_short.min()))

    theirs = arch.logits(twin, tokens, **arch.F32_ATTENTION)
    difference = arch.difference(expected, theirs)
    assert difference < MOST_DIFFERENCE, f"{name}: llama.cpp differs by {difference:.1e}"
    half = arch.difference(theirs, arch.logits(twin, tokens, **arch.F32_ATTENTION | {"kv": lc.GGML_TYPE_F16}))
    if f.quantized:
        reference_logits = expected
        expected, expected_short = (arch.logits(path, of, **arch.F32_ATTENTION) for of in (tokens, short))
        difference = arch.difference(reference_logits, expected)
        if difference > MOST_QUANTIZED:
            raise Unsuitable(f"rounded activations make a difference of {difference:.1e}")
    elif half > MOST_WITH_HALF:
        raise Unsuitable(f"a KV cache of f16 makes a difference of {half:.1e}")
    prompt, greedy, margin = generated(model, rng, f)
    for source in (path, twin):
        found = arch.logits(source, prompt + greedy, **arch.F32_ATTENTION)[N_PROMPT - 1 : -1].argmax(axis=1)
        if list(found) != greedy:
            raise Unsuitable(f"llama.cpp generates {found}, not {greedy}")
    by_default = arch.difference(expected, arch.logits(path, tokens, repack=True))

    contrasts = []
    for changes in f.contrasts:
        other = reference_of_contrast(f, model, changes)
        contrasts.append(float(f"{arch.difference(forward(model, tokens)[0], forward(other, tokens)[0]):.2f}"))
        assert contrasts[-1] > arch.LEAST_CONTRAST, f"{name}: {changes} changes the logits by {contrasts[-1]} only"

    value = {
        "reference": REFERENCE,
        "peer": {
            "version": arch.PEER,
            "difference": rounded(difference),
            "difference_with_f16_kv": rounded(half),
            "difference_with_default_settings": rounded(by_default),
        },
        "contrasts": contrasts,
        "router_gap": None if np.isinf(gap) else float(f"{gap:.3f}"),
        "greedy": {"margin": float(f"{margin:.3f}"), "prompt": prompt, "tokens": greedy},
        "tokens": tokens,
        "logits": rows(expected, POSITIONS),
        "short": {"tokens": short, "logits": rows(expected_short, [0, N_SHORT - 1])},
    }
    parts = [f' "{key}":{dumped(value[key])}' for key in value if key not in ("logits", "short")]
    parts.append(f' "logits":{dumped_rows(value["logits"])}')
    parts.append(f' "short":{{"tokens":{dumped(short)},"logits":{dumped_rows(value["short"]["logits"])}}}')
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    assert json.loads(text) == value
    (out / f"{name}.json").write_text(text)
    print(
        f"{name}: {path.stat().st_size} + {len(text)} bytes, range {np.ptp(expected[-1]):.2f}, peer {difference:.1e}, "
        f"f16 KV {half:.1e}, by default {by_default:.1e}, contrasts {contrasts}, greedy {greedy}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIXTURES))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "experts")
    parser.add_argument("--verbose", action="store_true", help="let llama.cpp log")
    args = parser.parse_args()
    if not args.verbose:
        lc.llama_log_set(arch._quiet, ctypes.c_void_p(0))
        logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    lc.llama_backend_init()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.names or FIXTURES:
            make(name, FIXTURES[name], args.out, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
