"""Regenerate tests/golden/arch: tiny random models, one per trait of an architecture, and llama.cpp's logits for them.

    pip install llama-cpp-python==0.3.36 gguf numpy
    OMP_WAIT_POLICY=passive python make_arch_fixtures.py [--out DIR] [NAME ...]

Without NAME all are made; with no --out the files land in `arch` beside this script. LLAMA_CPP_LIB_PATH uses a libllama
of your own. For each fixture there will be

    NAME.gguf   a model of a few layers, at most 250 kB
    NAME.json   a fixed sequence of tokens, and the logits after some of them (every digit of the f32)

The logits are computed with a KV cache of f32, without flash attention and without repacking. Where the weights are F16
(most, because that halves the files) or BF16, llama.cpp rounds the activations to the same type; so those logits come from a
twin of the model with the same weights in F32, which leaves nothing to blame but the forward pass. Where they are quantized
the file itself is run: the activations are quantized too, and that is part of what is compared. `peer` says how far
llama.cpp lies from these logits when it runs the file with its default settings: a measure of what differences mean.

A fixture for a trait (a scaling of the positions, a bias, a window) is worth nothing where the trait does not matter. So each
has `contrasts`: the same model without the trait, or with the trait it could be mistaken for, must give other logits, by at
least `LEAST_CONTRAST` of their range.

Differences in this file are always the largest over tokens and positions, divided by the range (largest minus smallest) of
the expected logits at that position.
"""

import argparse
import ctypes
import json
import pathlib
import tempfile
import zlib
from dataclasses import dataclass, field, replace

import gguf
import llama_cpp as lc
import numpy as np
from gguf import GGMLQuantizationType as T

PEER = f"llama-cpp-python {lc.__version__}, llama.cpp {lc.llama_version().decode()}"
N_TOKENS = 40
POSITIONS = [0, 1, 6, 15, 16, 27, 38, 39]
LEAST_CONTRAST = 0.05
MOST_BYTES = 250_000


@dataclass(frozen=True)
class Fixture:
    """A model to be made. The random weights depend on `seed` and each tensor's name, and on nothing else."""

    seed: str
    arch: str
    dim: int = 40
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 10
    ffn: int = 56
    layers: int = 2
    vocab: int = 64
    tokenizer: str = "gpt2"
    tied: bool = False
    bias: tuple = ()  # of these matrices
    rope_factors: bool = False
    head_norm: bool = False  # of queries and keys
    post_norm: bool = False
    head_bias: bool = False
    keys: dict = field(default_factory=dict)  # further metadata, without the architecture's name
    types: dict = field(default_factory=lambda: {"": T.F16})  # by a part of the tensor's name; "" for all others
    contrasts: tuple = ()  # what is changed to lose the trait

    def has_twin(self):
        return set(self.types.values()) <= {T.F16, T.BF16}


def llama3_factors(pairs, base, head_dim):
    """Llama 3.1's frequency factors, with a context so short that all three cases occur."""
    factor, low, high, context = 8.0, 1.0, 4.0, 64.0
    wavelength = 2 * np.pi * base ** (np.arange(pairs) * 2 / head_dim)
    smooth = (context / wavelength - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(wavelength < context / high, 1.0, np.where(wavelength > context / low, factor, between))


def tensors(f: Fixture):
    """(name, values) of every tensor. Queries and keys are large enough that attention looks at few positions."""

    def random(name, *shape, std=1.0, mean=0.0):
        rng = np.random.default_rng(zlib.crc32(f"{f.seed}/{name}".encode()))
        return name, (rng.standard_normal(shape) * std + mean).astype(np.float32)

    def matrix(name, rows, cols, gain=1.0):
        yield random(f"{name}.weight", rows, cols, std=gain / np.sqrt(cols))
        if name.rsplit(".")[-1] in f.bias:
            yield random(f"{name}.bias", rows, std=0.5)

    def norm(name, n=f.dim, mean=1.0):
        return random(f"{name}.weight", n, std=0.2, mean=mean)

    # Gemma multiplies the embedding with sqrt(dim) itself.
    yield random("token_embd.weight", f.vocab, f.dim, std=1 / np.sqrt(f.dim) if f.arch == "gemma3" else 1.0)
    for i in range(f.layers):
        blk = f"blk.{i}"
        yield norm(f"{blk}.attn_norm")
        yield from matrix(f"{blk}.attn_q", f.heads * f.head_dim, f.dim, 1.2)
        yield from matrix(f"{blk}.attn_k", f.kv_heads * f.head_dim, f.dim, 1.2)
        yield from matrix(f"{blk}.attn_v", f.kv_heads * f.head_dim, f.dim)
        if f.head_norm:
            yield norm(f"{blk}.attn_q_norm", f.head_dim, mean=1.2)
            yield norm(f"{blk}.attn_k_norm", f.head_dim, mean=1.2)
        yield from matrix(f"{blk}.attn_output", f.dim, f.heads * f.head_dim)
        if f.post_norm:
            yield norm(f"{blk}.post_attention_norm", mean=0.5)
        yield norm(f"{blk}.ffn_norm")
        yield from matrix(f"{blk}.ffn_gate", f.ffn, f.dim, 1.5)
        yield from matrix(f"{blk}.ffn_up", f.ffn, f.dim)
        yield from matrix(f"{blk}.ffn_down", f.dim, f.ffn)
        if f.post_norm:
            yield norm(f"{blk}.post_ffw_norm", mean=0.5)
    yield norm("output_norm")
    if not f.tied:
        yield random("output.weight", f.vocab, f.dim, std=2 / np.sqrt(f.dim))
    if f.head_bias:
        yield random("output.bias", f.vocab, std=0.5)
    if f.rope_factors:
        base = f.keys.get("rope.freq_base", 10000.0)
        yield "rope_freqs.weight", llama3_factors(f.head_dim // 2, base, f.head_dim).astype(np.float32)


# --- quantization ---------------------------------------------------------------------------------


def ggml():
    """libggml-base, which lies beside libllama."""
    lib = ctypes.CDLL(str(next(pathlib.Path(lc.llama_cpp._lib._name).parent.glob("libggml-base.*"))))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return lib


def store(values, ty):
    """The bytes of a matrix in type `ty`, by the C library, which knows all types."""
    rows, cols = values.shape
    block, size = gguf.GGML_QUANT_SIZES[ty]
    out = np.zeros((rows, cols // block * size), dtype=np.uint8)
    values = np.ascontiguousarray(values)
    written = ggml().ggml_quantize_chunk(int(ty), values.ctypes.data, out.ctypes.data, 0, rows, cols, None)
    assert written == out.nbytes, f"{ty.name}: {written} bytes, not {out.nbytes}"
    return out


def type_of(f, name, values):
    if values.ndim == 1:
        return T.F32
    for part, ty in f.types.items():
        if part and part in name:
            return ty
    return f.types.get("", T.F32)


# --- writing --------------------------------------------------------------------------------------


def vocabulary(writer, f):
    """The least that both readers take: some control tokens and one token for each printable ASCII character."""
    control = ["<unk>", "<s>", "</s>"]
    characters = [chr(c) for c in range(33, 127)][: f.vocab - len(control)]
    tokens = control + characters
    tokens += [f"<filler{i}>" for i in range(f.vocab - len(tokens))]
    writer.add_tokenizer_model(f.tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (f.vocab - 3))
    if f.tokenizer == "gpt2":
        writer.add_tokenizer_pre("qwen2" if f.arch.startswith("qwen") else "llama-bpe")
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_scores([-float(i) for i in range(f.vocab)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(f: Fixture, path, twin=False):
    writer = gguf.GGUFWriter(path, f.arch)
    writer.add_name(path.stem)
    writer.add_context_length(64)
    writer.add_embedding_length(f.dim)
    writer.add_block_count(f.layers)
    writer.add_feed_forward_length(f.ffn)
    writer.add_head_count(f.heads)
    if f.kv_heads != f.heads:
        writer.add_head_count_kv(f.kv_heads)
    if f.head_dim * f.heads != f.dim or f.arch == "gemma3":
        writer.add_key_length(f.head_dim)
        writer.add_value_length(f.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in f.keys.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"{f.arch}.{key}", value)
    vocabulary(writer, f)
    for name, values in tensors(f):
        ty = type_of(f, name, values)
        if ty == T.F32:
            writer.add_tensor(name, values)
            continue
        stored = store(values, ty)
        if twin:
            writer.add_tensor(name, gguf.quants.dequantize(stored, ty).reshape(values.shape).astype(np.float32))
        else:
            writer.add_tensor(name, stored, raw_dtype=ty)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- the peer -------------------------------------------------------------------------------------

F32_ATTENTION = {"kv": lc.GGML_TYPE_F32, "flash_attention": lc.LLAMA_FLASH_ATTN_TYPE_DISABLED}


def logits(path, tokens, repack=False, kv=None, flash_attention=None):
    """llama.cpp's logits after each of `tokens`."""
    params = lc.llama_model_default_params()
    params.use_extra_bufts = repack
    model = lc.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path.name}; --verbose says why")
    n_vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    params = lc.llama_context_default_params()
    params.n_ctx = 256
    params.n_threads = params.n_threads_batch = 1
    if kv is not None:
        params.type_k = params.type_v = kv
    if flash_attention is not None:
        params.flash_attn_type = flash_attention
    context = lc.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("cannot make a context")
    rows = []
    for token in tokens:  # One at a time, as generation does.
        batch = lc.llama_batch_get_one((lc.llama_token * 1)(token), 1)
        if lc.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        rows.append(np.ctypeslib.as_array(lc.llama_get_logits_ith(context, -1), shape=(n_vocab,)).copy())
    lc.llama_free(context)
    lc.llama_model_free(model)
    return np.stack(rows)


def difference(expected, found):
    reach = expected.max(axis=1) - expected.min(axis=1)
    return float((np.abs(expected - found).max(axis=1) / reach).max())


# --- the fixtures ---------------------------------------------------------------------------------

F32 = {"": T.F32}
LLAMA = Fixture(seed="llama", arch="llama", tokenizer="llama")
QWEN2 = Fixture(seed="qwen2", arch="qwen2", bias=("attn_q", "attn_k", "attn_v"), keys={"rope.freq_base": 1e6})
QWEN3 = Fixture(seed="qwen3", arch="qwen3", head_dim=14, head_norm=True, keys={"rope.freq_base": 1e6})
WINDOWS = {"rope.freq_base": 1e6, "attention.sliding_window": 8}
GEMMA3 = Fixture(
    seed="gemma3", arch="gemma3", tokenizer="llama", dim=24, heads=2, kv_heads=1, head_dim=16, ffn=32, layers=7,
    tied=True, head_norm=True, post_norm=True, keys=WINDOWS,
)
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
YARN_BASE = {"rope.freq_base": 1000.0}
YARN = YARN_BASE | {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 128
}
# Global layers like those of the 4B model, but with a base so low that scaling matters within few positions.
SCALED = WINDOWS | {"rope.freq_base": 100.0}
PATTERN = "attention.sliding_window_pattern"
BLOCKS_OF_256 = {
    "token_embd": T.Q6_K, "attn_q": T.Q5_K, "attn_k": T.Q6_K, "attn_v": T.IQ4_XS, "attn_output": T.Q8_0,
    "ffn_gate": T.Q2_K, "ffn_up": T.Q3_K, "ffn_down": T.Q4_K, "output": T.Q4_K,
}
BLOCKS_OF_32 = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.IQ4_NL, T.MXFP4]


def like(base, seed, *contrasts, **changes):
    return replace(base, seed=seed, contrasts=contrasts, **changes)


FIXTURES = {
    "llama-gqa": like(LLAMA, "gqa", {"keys": {"rope.freq_base": 500.0}}, types=F32),
    "llama-mha": like(LLAMA, "mha", kv_heads=4),
    "llama-mqa": like(LLAMA, "mqa", kv_heads=1),
    "llama-bf16": like(LLAMA, "bf16", types={"": T.BF16}),
    "llama-head-dim": like(LLAMA, "head-dim", head_dim=18),
    "llama-tied-factors": like(
        LLAMA, "factors", {"rope_factors": False},
        tied=True, head_dim=16, tokenizer="gpt2", rope_factors=True, keys={"rope.freq_base": 500.0},
    ),
    "llama-linear": like(LLAMA, "linear", {"keys": {}}, keys=LINEAR),
    "llama-linear-old": like(LLAMA, "linear-old", {"keys": {}}, keys={"rope.scale_linear": 2.0}),
    "llama-scaling-none": like(LLAMA, "none", {"keys": LINEAR}, keys=LINEAR | {"rope.scaling.type": "none"}),
    "llama-yarn": like(
        LLAMA, "yarn", {"keys": YARN_BASE}, {"keys": YARN | {"rope.scaling.type": "linear"}}, head_dim=24, keys=YARN
    ),
    "llama-biases": like(
        LLAMA, "biases", {"bias": ("attn_q", "attn_k", "attn_v")}, {"bias": ("attn_output",)},
        bias=("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
    ),
    "qwen2": like(QWEN2, "qwen2", {"bias": ()}, types=F32),
    "qwen2-tied": like(QWEN2, "tied", {"bias": ()}, tied=True),
    "qwen2-yarn": like(
        QWEN2, "qwen2-yarn", {"keys": YARN}, {"keys": YARN_BASE}, keys=YARN | {"rope.scaling.attn_factor": 1.25}
    ),
    "qwen2-head-bias": like(QWEN2, "head-bias", {"head_bias": False}, head_bias=True),
    "qwen3": like(QWEN3, "qwen3", {"keys": {}}, types=F32),
    "qwen3-tied": like(QWEN3, "qwen3-tied", {"keys": {}}, tied=True, layers=3),
    "gemma3": like(
        GEMMA3, "gemma3",
        {"keys": WINDOWS | {"attention.sliding_window": 9}}, {"keys": WINDOWS | {"rope.freq_base": 1e4}}, types=F32,
    ),
    "gemma3-scaled": like(
        GEMMA3, "gemma3-scaled", {"keys": SCALED},
        keys=SCALED | {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "gemma3-local-base": like(
        GEMMA3, "gemma3-local-base", {"keys": WINDOWS}, keys=WINDOWS | {"rope.freq_base_swa": 50.0}
    ),
    "gemma3-no-window": like(
        GEMMA3, "gemma3-no-window", {"keys": WINDOWS}, layers=3, keys={"rope.freq_base": 1e6}
    ),
    "gemma3-pattern": like(GEMMA3, "gemma3-pattern", {"keys": WINDOWS}, layers=4, keys=WINDOWS | {PATTERN: 2}),
    "gemma3-pattern-list": like(
        GEMMA3, "gemma3-pattern-list", {"keys": WINDOWS}, {"keys": WINDOWS | {PATTERN: 2}},
        layers=4, keys=WINDOWS | {PATTERN: [False, True, True, False]},
    ),
    "gemma3-softcap": like(
        GEMMA3, "gemma3-softcap", {"keys": WINDOWS}, layers=2, keys=WINDOWS | {"final_logit_softcapping": 2.0}
    ),
    "gemma3-partial-rope": like(
        GEMMA3, "gemma3-partial-rope", {"keys": WINDOWS}, layers=3, keys=WINDOWS | {"rope.dimension_count": 6}
    ),
    "quantized-256": like(
        LLAMA, "256", dim=256, heads=2, kv_heads=1, head_dim=32, ffn=256, layers=1, types=BLOCKS_OF_256
    ),
} | {
    f"quantized-{ty.name.lower().replace('_', '-')}": like(
        LLAMA, ty.name, dim=64, head_dim=16, ffn=96, layers=1, types={"": ty}
    )
    for ty in BLOCKS_OF_32
}


def make(name, f, out, scratch):
    path = out / f"{name}.gguf"
    write(f, path)
    assert path.stat().st_size <= MOST_BYTES, f"{name}: {path.stat().st_size} bytes"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    tokens = [1] + [int(t) for t in rng.integers(3, f.vocab, N_TOKENS - 1)]
    source = path
    if f.has_twin():
        source = scratch / f"{name}.twin.gguf"
        write(f, source, twin=True)
    expected = logits(source, tokens, **F32_ATTENTION)
    peer = difference(expected, logits(path, tokens, repack=True))
    contrasts = []
    for changes in f.contrasts:
        other = scratch / f"{name}.contrast.gguf"
        write(replace(f, **changes), other, twin=f.has_twin())
        contrasts.append(float(f"{difference(expected, logits(other, tokens, **F32_ATTENTION)):.2f}"))
        assert contrasts[-1] > LEAST_CONTRAST, f"{name}: {changes} changes the logits by {contrasts[-1]} only"
    value = {
        "peer": {"version": PEER, "difference_with_default_settings": float(f"{peer:.2e}")},
        "contrasts": contrasts,
        "tokens": tokens,
        # The shortest digits that give back the same f32.
        "logits": [{"position": p, "logits": [float(str(x)) for x in expected[p]]} for p in POSITIONS],
    }
    spread = float(np.ptp(expected[-1]))
    text = "{\n"
    text += f' "peer":{json.dumps(value["peer"])},\n "contrasts":{json.dumps(contrasts)},\n'
    text += f' "tokens":{json.dumps(tokens, separators=(",", ":"))},\n "logits":[\n'
    text += ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value["logits"]) + "\n ]\n}\n"
    assert json.loads(text) == value
    (out / f"{name}.json").write_text(text)
    print(f"{name}: {path.stat().st_size} + {len(text)} bytes, range {spread:.2f}, peer {peer:.1e}, contrasts {contrasts}")


@lc.llama_log_callback
def _quiet(_level, _text, _user_data):
    pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIXTURES))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "arch")
    parser.add_argument("--verbose", action="store_true", help="let llama.cpp log")
    args = parser.parse_args()
    if not args.verbose:
        lc.llama_log_set(_quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.names or FIXTURES:
            make(name, FIXTURES[name], args.out, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
