"""Regenerate dequant.json beside this script: what random blocks of each type mean, according to llama.cpp's gguf package.

    pip install gguf numpy
    python make_dequant_golden.py [--out FILE]

For each type some blocks of random bytes, and the f32 they are worth. Every byte pattern is a valid block but for its
scales, which are written over: with numbers of a size that models have, of either sign; with a subnormal in one block of
four; with a zero in one of eight. The C library's `to_float` gives the same bits as this package.
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

BLOCKS = {32: 24, 256: 6}
# Offsets of the halves that scale a block.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_XS: [0],
    T.MXFP4: [],
}


def scale(rng, block):
    """A half-precision scale in two bytes."""
    if block % 8 == 7:
        value = np.float16(-0.0 if block % 16 == 15 else 0.0)
    elif block % 4 == 2:
        value = np.float16(rng.integers(1, 1024) * 2.0**-24)  # Subnormal.
    else:
        value = np.float16(rng.standard_normal() * 0.05)
    return np.array([value], dtype="<f2").view(np.uint8)


def elements(rng, ty):
    """Finite F16 or BF16, of all sizes."""
    bits = rng.integers(0, 1 << 16, 512).astype("<u2")
    exponent = 0x7C00 if ty == T.F16 else 0x7F80
    return bits[(bits & exponent) != exponent][:128].view(np.uint8)


def blocks(rng, ty):
    if ty in (T.F16, T.BF16):
        return elements(rng, ty)[None, :]
    block_len, size = gguf.GGML_QUANT_SIZES[ty]
    out = rng.integers(0, 256, (BLOCKS[block_len], size), dtype=np.uint8)
    for i, block in enumerate(out):
        for at in SCALES[ty]:
            block[at : at + 2] = scale(rng, i)
        if ty == T.MXFP4:
            block[0] = [0, 1, 2, 100, 127, 130, 200, 252][i % 8]  # Exponents of powers of two; the least are subnormal.
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "dequant.json")
    args = parser.parse_args()
    rows = []
    for ty in [T.F16, T.BF16, *SCALES]:
        rng = np.random.default_rng(int(ty))
        data = blocks(rng, ty)
        with np.errstate(over="ignore"):
            values = gguf.quants.dequantize(data, ty).astype("<f4").reshape(-1)
        assert np.isfinite(values).all(), ty.name
        row = {"type": ty.name, "blocks": data.tobytes().hex(), "values": values.view("<u4").tobytes().hex()}
        rows.append("  " + json.dumps(row, separators=(",", ":")))
    about = {
        "blocks": "the bytes of the blocks, one after the other",
        "values": "the little-endian bytes of the f32 they are worth",
    }
    text = f'{{\n "about":{json.dumps(about)},\n "cases":[\n' + ",\n".join(rows) + "\n ]\n}\n"
    json.loads(text)
    args.out.write_text(text)
    print(f"{args.out.name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
