"""Regenerate the golden files beside this script from llama.cpp.

    pip install llama-cpp-python==0.3.36 jinja2
    python make_goldens.py --out DIR [--only tokens|greedy|chat] NAME=MODEL.gguf[,F32.gguf] ...

NAME is one of smollm2, gemma3, qwen2-coder-1.5b; with no --out the files land beside the script.
F32.gguf is the same model with every weight dequantized, which llama.cpp makes with
`llama-quantize --allow-requantize MODEL.gguf F32.gguf F32`: its logits are what the weights really say,
free of the rounding of activations to 8 bits that every fast kernel does, and go into `exact`.
For each model it writes

    NAME.tokens.json   every text of corpus.py as token ids, and the bytes of every id that occurs
    NAME.greedy.json   greedy continuations with the five best logits of every step

and, from all the models that have a chat template, chat.json: conversations rendered by jinja2.

Only the low-level (C) API of llama_cpp is used. Set LLAMA_CPP_LIB_PATH to use a libllama of your own.
Logits depend on the CPU's kernels, because a last-digit difference can round an activation the other
way; so do token ids at near ties. Regenerate on one machine, and judge a difference by `noise`, which
measures llama.cpp against itself, and by `exact`.
"""

import argparse
import ctypes
import json
import pathlib

import jinja2
import llama_cpp as lc
import numpy as np

import corpus

PEER = f"llama-cpp-python {lc.__version__}, llama.cpp {lc.llama_version().decode()}"
N_CTX = 1024
N_THREADS = 2
N_STEPS = 96
N_TOP = 5


# --- the C API, made a little more comfortable ---------------------------------------------------


class Model:
    """A loaded model; `vocab_only` skips the weights."""

    def __init__(self, path, vocab_only=False, repack=True):
        params = lc.llama_model_default_params()
        params.vocab_only = vocab_only
        params.use_extra_bufts = repack
        self.ptr = lc.llama_model_load_from_file(str(path).encode(), params)
        if not self.ptr:
            raise SystemExit(f"cannot load {path}")
        self.vocab = lc.llama_model_get_vocab(self.ptr)
        self.n_vocab = lc.llama_vocab_n_tokens(self.vocab)

    def close(self):
        lc.llama_model_free(self.ptr)

    def meta(self, key):
        buf = ctypes.create_string_buffer(1 << 16)
        n = lc.llama_model_meta_val_str(self.ptr, key.encode(), buf, len(buf))
        return buf.value.decode() if n >= 0 else None

    def tokenize(self, text, add_special, parse_special):
        raw = text.encode()
        ids = (lc.llama_token * (len(raw) + 8))()
        n = lc.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), add_special, parse_special)
        assert n >= 0, "the buffer holds a token for every byte"
        return list(ids[:n])

    def piece(self, token, special=True):
        buf = ctypes.create_string_buffer(1024)
        n = lc.llama_token_to_piece(self.vocab, token, buf, len(buf), 0, special)
        assert n >= 0, "no piece is this long"
        return buf.raw[:n]

    def is_eog(self, token):
        return bool(lc.llama_vocab_is_eog(self.vocab, token))

    def describe(self):
        """What a reader needs to know about the vocabulary."""
        return {
            "architecture": self.meta("general.architecture"),
            "tokenizer": self.meta("tokenizer.ggml.model"),
            "pre": self.meta("tokenizer.ggml.pre"),
            "n_vocab": self.n_vocab,
            "bos": lc.llama_vocab_bos(self.vocab),
            "eos": lc.llama_vocab_eos(self.vocab),
            "adds_bos": bool(lc.llama_vocab_get_add_bos(self.vocab)),
            "adds_eos": bool(lc.llama_vocab_get_add_eos(self.vocab)),
            "end_of_generation": [t for t in range(self.n_vocab) if self.is_eog(t)],
        }


class Context:
    """A fresh context: feed it tokens, get the logits after the last one."""

    def __init__(self, model, kv=None, flash_attention=None, threads=N_THREADS):
        params = lc.llama_context_default_params()
        params.n_ctx = N_CTX
        params.n_threads = params.n_threads_batch = threads
        if kv is not None:
            params.type_k = params.type_v = kv
        if flash_attention is not None:
            params.flash_attn_type = flash_attention
        self.n_vocab = model.n_vocab
        self.ptr = lc.llama_init_from_model(model.ptr, params)
        if not self.ptr:
            raise SystemExit("cannot make a context")

    def feed(self, tokens):
        array = (lc.llama_token * len(tokens))(*tokens)
        if lc.llama_decode(self.ptr, lc.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")
        logits = lc.llama_get_logits_ith(self.ptr, -1)
        return np.ctypeslib.as_array(logits, shape=(self.n_vocab,)).copy()

    def close(self):
        lc.llama_free(self.ptr)


# --- the three kinds of golden file --------------------------------------------------------------


def tokens_golden(model):
    cases, seen = [], set()
    for text in corpus.TOKENIZER_TEXTS:
        plain = model.tokenize(text, add_special=False, parse_special=False)
        special = model.tokenize(text, add_special=True, parse_special=True)
        seen.update(plain, special)
        cases.append({"text": text, "plain": plain, "special": special})
    pieces = {str(t): model.piece(t).hex() for t in sorted(seen)}
    return {
        "about": {
            "plain": "add_special=false, parse_special=false",
            "special": "add_special=true, parse_special=true",
            "pieces": "bytes of each id in hex, special tokens rendered, no leading space stripped",
            "control": "ids whose piece is empty when special tokens are not rendered",
        },
        "peer": PEER,
        "model": model.describe(),
        "cases": cases,
        "pieces": pieces,
        "control": [t for t in sorted(seen) if not model.piece(t, special=False)],
    }


def render(model, conversation, add_generation_prompt=True):
    """A conversation through the GGUF's own chat template, the way the Python world sets jinja2 up."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    template = env.from_string(model.meta("tokenizer.chat_template"))
    return template.render(
        messages=conversation,
        add_generation_prompt=add_generation_prompt,
        bos_token=model.piece(lc.llama_vocab_bos(model.vocab)).decode(),
        eos_token=model.piece(lc.llama_vocab_eos(model.vocab)).decode(),
    )


def chat_golden(model):
    conversations = []
    for name, messages in corpus.CONVERSATIONS.items():
        text = render(model, messages)
        conversations.append(
            {
                "name": name,
                "messages": messages,
                "text": text,
                "text_without_generation_prompt": render(model, messages, add_generation_prompt=False),
                "ids": model.tokenize(text, add_special=True, parse_special=True),
            }
        )
    return {"template": model.meta("tokenizer.chat_template"), "conversations": conversations}


def prompts(model):
    """(name, text, parse_special) of every prompt this model gets; BOS is added as the model asks."""
    if model.meta("tokenizer.chat_template"):
        for name, messages in corpus.CONVERSATIONS.items():
            yield f"chat {name}", render(model, messages), True
        names = ["prose", "python", "list", "french"]
    else:
        names = list(corpus.COMPLETIONS)
    for name in names:
        yield name, corpus.COMPLETIONS[name], False
    yield "long", corpus.LONG_PROMPT, False


def number(x):
    return round(float(x), 4)


def top(logits):
    best = np.argsort(-logits, kind="stable")[:N_TOP]
    return [[int(t), number(logits[t])] for t in best]


def greedy(model, ids):
    """Greedy tokens with the top logits of each step; runs on past the end of generation."""
    context = Context(model)
    tokens, tops, rows = [], [], []
    logits = context.feed(ids)
    for _ in range(N_STEPS):
        rows.append(logits)
        tops.append(top(logits))
        tokens.append(int(np.argmax(logits)))
        logits = context.feed(tokens[-1:])
    context.close()
    return tokens, tops, rows


def forced(model, ids, tokens, **context_options):
    """The logits along a given continuation, under other settings."""
    context = Context(model, **context_options)
    rows = [context.feed(ids)]
    for token in tokens[:-1]:
        rows.append(context.feed([token]))
    context.close()
    return rows


def compare(settings, base, rows):
    """How far `rows` lie from `base`, over the whole vocabulary, at every step."""
    differences = [np.abs(a - b) for a, b in zip(base, rows)]
    flips = [i for i, (a, b) in enumerate(zip(base, rows)) if np.argmax(a) != np.argmax(b)]
    return {
        "settings": settings,
        "max_abs_difference": number(max(d.max() for d in differences)),
        "mean_abs_difference": number(np.mean([d.mean() for d in differences])),
        "top1_flips_at_steps": flips,
        "top": [top(r) for r in rows],
    }


F32_ATTENTION = {"kv": lc.GGML_TYPE_F32, "flash_attention": lc.LLAMA_FLASH_ATTN_TYPE_DISABLED}


def noise(model, path, ids, tokens, base):
    """llama.cpp against itself, teacher-forced along the default greedy continuation of one prompt."""
    no_flash = {"flash_attention": lc.LLAMA_FLASH_ATTN_TYPE_DISABLED}
    plain = Model(path, repack=False)
    variants = [
        compare("f32 KV cache, flash attention off", base, forced(model, ids, tokens, **F32_ATTENTION)),
        compare("f16 KV cache, flash attention off", base, forced(model, ids, tokens, **no_flash)),
        compare("the default on 1 thread", base, forced(model, ids, tokens, threads=1)),
        compare("the default without repacking", base, forced(plain, ids, tokens)),
    ]
    plain.close()
    return variants


def greedy_golden(model, path, exact_path=None):
    exact_model = Model(exact_path) if exact_path else None
    cases = []
    noise_of = None
    for name, text, parse_special in prompts(model):
        ids = model.tokenize(text, add_special=True, parse_special=parse_special)
        assert len(ids) + N_STEPS <= N_CTX, f"{name}: {len(ids)} tokens do not fit"
        tokens, tops, rows = greedy(model, ids)
        exact = exact_model and compare(
            "weights dequantized to f32, f32 KV cache, flash attention off",
            rows,
            forced(exact_model, ids, tokens, **F32_ATTENTION),
        )
        ends = [i for i, t in enumerate(tokens) if model.is_eog(t)]
        cases.append(
            {
                "name": name,
                "prompt": text,
                "parse_special": parse_special,
                "bos_added": bool(lc.llama_vocab_get_add_bos(model.vocab)),
                "prompt_ids": ids,
                "tokens": tokens,
                "first_end_of_generation": ends[0] if ends else None,
                "text": b"".join(model.piece(t) for t in tokens).decode(errors="replace"),
                "min_top1_margin": number(min(t[0][1] - t[1][1] for t in tops)),
                "top": tops,
                "exact": exact,
            }
        )
        if noise_of is None:
            noise_of = {"prompt": name, "variants": noise(model, path, ids, tokens, rows)}
    if exact_model:
        exact_model.close()
    return {
        "about": {
            "tokens": f"{N_STEPS} greedy tokens; end-of-generation tokens are fed back like any other",
            "first_end_of_generation": "index in `tokens` of the first end-of-generation token, or null",
            "top": f"for each step the {N_TOP} best [token, logit], best first; step i chose tokens[i]",
            "exact": "the same model with f32 weights along the same tokens, and how far the default lies from it",
            "noise": "the peer against its own default along the same tokens; `top` are the variant's logits",
        },
        "peer": PEER,
        "system": lc.llama_print_system_info().decode(),
        "settings": {
            "n_ctx": N_CTX, "n_threads": N_THREADS, "kv": "f16", "flash_attention": "auto",
            "n_batch": "default", "n_ubatch": "default", "repacking": True,
        },
        "model": model.describe(),
        "cases": cases,
        "noise": noise_of,
    }


# --- writing -------------------------------------------------------------------------------------


def write(path, value):
    """JSON with one line per list item of the two outer levels: small, and still readable in a diff."""

    def dump(v):
        return json.dumps(v, ensure_ascii=True, separators=(",", ":"))

    lines = []
    for key, v in value.items():
        if isinstance(v, list) and v and isinstance(v[0], dict):
            body = ",\n".join("  " + dump(item) for item in v)
            lines.append(f' {dump(key)}:[\n{body}\n ]')
        elif isinstance(v, dict):
            body = ",\n".join(f"  {dump(k)}:{dump(item)}" for k, item in v.items()) if key != "pieces" else "  " + dump(v)[1:-1]
            lines.append(f' {dump(key)}:{{\n{body}\n }}')
        else:
            lines.append(f" {dump(key)}:{dump(v)}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    assert json.loads(text) == json.loads(json.dumps(value))
    path.write_text(text)
    print(f"{path.name}: {len(text)} bytes")


@lc.llama_log_callback
def _quiet(_level, _text, _user_data):
    pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.gguf[,F32.gguf]")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--only", choices=["tokens", "greedy", "chat"])
    parser.add_argument("--verbose", action="store_true", help="let llama.cpp log")
    args = parser.parse_args()

    if not args.verbose:
        lc.llama_log_set(_quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    chats = {}
    for name, paths in (m.split("=", 1) for m in args.models):
        path, _, exact_path = paths.partition(",")
        model = Model(path, vocab_only=args.only in ("tokens", "chat"))
        if args.only in (None, "tokens"):
            write(args.out / f"{name}.tokens.json", tokens_golden(model))
        if args.only in (None, "greedy"):
            write(args.out / f"{name}.greedy.json", greedy_golden(model, path, exact_path))
        if args.only in (None, "chat") and model.meta("tokenizer.chat_template"):
            chats[name] = chat_golden(model)
        model.close()
    if chats:
        write(args.out / "chat.json", {"peer": f"jinja2 {jinja2.__version__}", **chats})


if __name__ == "__main__":
    main()
