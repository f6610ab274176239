#!/usr/bin/env python3
"""The inner loops of the NEON kernels in the scheduling models of llvm-mca; `neon-model.sh`, beside this script, runs it.

Takes object files, finds in each kernel the loop that multiplies, follows it for one round of that loop, loops within included,
and writes a Markdown table of instructions and modelled cycles. How often a loop within goes round is stated in KERNELS; that a
forward branch is not taken is assumed, for what is branched to are failures and ends.
"""

import argparse
import dataclasses
import re
import subprocess
import sys

CPUS = ["cortex-x4", "cortex-a725"]
DOT = re.compile(r"(sdot|smmla)\b")
BRANCH = re.compile(r"(b|b\.\w+|cbn?z|tbn?z)$")
# Products of bytes that an instruction adds up.
PRODUCTS = {"sdot": 16, "smmla": 32}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A loop to be looked at."""

    section: str
    label: str
    file: str
    # Of the symbol, mangled or not.
    symbol: str
    # How many products of vectors the innermost loop has, to tell it from others in the function. Zero: the longest loop
    # of the function is meant, and the innermost.
    dots: int
    # How often the innermost loop and those around it go round, up to but without the loop whose rounds are counted.
    trips: tuple[int, ...] = ()
    # How often loops within go round that have no products, in the order of their ends.
    others: tuple[int, ...] = ()
    # The weights of a round, where there are no products to count.
    weights: int = 0


def ours(layer: str, level: str, weights: str) -> str:
    return rf"forebay_infer.*neon.*{layer}.*{level}.*{weights}"


DECODE = "One token, rows in place"
PANEL = "Unpacking rows to panels, once for all tokens"
DECODE_PACKED = "One token, rows repacked beforehand"
BATCH_DOT = "Many tokens, `sdot`"
BATCH_I8MM = "Many tokens, `smmla`"
KERNELS = [
    Kernel(DECODE, "forebay Q4_0", "forebay", ours("block324rows", "Dotprod", "Q4_0"), 16),
    Kernel(DECODE, "llama.cpp Q4_0 `vec_dot`", "dotprod", "ggml_vec_dot_q4_0_q8_0", 4),
    Kernel(DECODE, "forebay Q4_K", "forebay", ours("block2564rows", "Dotprod", "Q4_K"), 64),
    Kernel(DECODE, "llama.cpp Q4_K `vec_dot`", "dotprod", "ggml_vec_dot_q4_K_q8_K", 16),
    Kernel(DECODE, "forebay Q6_K", "forebay", ours("block2564rows", "Dotprod", "Q6_K"), 64),
    Kernel(DECODE, "llama.cpp Q6_K `vec_dot`", "dotprod", "ggml_vec_dot_q6_K_q8_K", 16),
    Kernel(DECODE_PACKED, "llama.cpp Q4_0 `gemv` 4x4", "dotprod", "ggml_gemv_q4_0_4x4_q8_0", 8),
    Kernel(DECODE_PACKED, "llama.cpp Q4_0 `gemv` 4x8", "i8mm", "ggml_gemv_q4_0_4x8_q8_0", 8),
    Kernel(DECODE_PACKED, "llama.cpp Q4_K `gemv` 8x4", "dotprod", "ggml_gemv_q4_K_8x4_q8_K", 32, (4,), (2,)),
    Kernel(DECODE_PACKED, "llama.cpp Q4_K `gemv` 8x8", "i8mm", "ggml_gemv_q4_K_8x8_q8_K", 32, (4,), (2,)),
    Kernel(PANEL, "forebay Q4_0, for `sdot`", "forebay", ours("panel9blocks_32", "Dotprod", "Q4_0"), 0, (), (4,), 512),
    Kernel(PANEL, "forebay Q4_K, for `sdot`", "forebay", ours("panel10blocks_256", "Dotprod", "Q4_K"), 0, (), (16, 4, 16), 4096),
    Kernel(PANEL, "forebay Q4_0, for `smmla`", "forebay", ours("panel9blocks_32", "I8mm", "Q4_0"), 0, (), (4,), 512),
    Kernel(PANEL, "forebay Q4_K, for `smmla`", "forebay", ours("panel10blocks_256", "I8mm", "Q4_K"), 0, (), (4, 16), 4096),
    Kernel(BATCH_DOT, "forebay Q4_0", "forebay", ours("product9blocks_32", "Dotprod", "Q4_0"), 16, (8, 2)),
    Kernel(BATCH_DOT, "llama.cpp Q4_0 `gemm` 4x4", "dotprod", "ggml_gemm_q4_0_4x4_q8_0", 128),
    Kernel(BATCH_DOT, "forebay Q4_K", "forebay", ours("product10blocks_256", "Dotprod", "Q4_K"), 64, (8, 2, 2)),
    Kernel(BATCH_DOT, "llama.cpp Q4_K `gemm` 8x4", "dotprod", "ggml_gemm_q4_K_8x4_q8_K", 128, (4,), (2,)),
    Kernel(BATCH_I8MM, "forebay Q4_0", "forebay", ours("product9blocks_32", "I8mm", "Q4_0"), 64),
    Kernel(BATCH_I8MM, "llama.cpp Q4_0 `gemm` 4x8", "i8mm", "ggml_gemm_q4_0_4x8_q8_0", 64),
    Kernel(BATCH_I8MM, "forebay Q4_K", "forebay", ours("product10blocks_256", "I8mm", "Q4_K"), 32, (8, 2, 2)),
    Kernel(BATCH_I8MM, "llama.cpp Q4_K `gemm` 8x8", "i8mm", "ggml_gemm_q4_K_8x8_q8_K", 64, (4,), (2,)),
]


@dataclasses.dataclass
class Instruction:
    address: int
    name: str
    operands: str
    # Where it branches to.
    target: int | None


def disassemble(path: str) -> dict[str, list[Instruction]]:
    """The functions of an object file."""
    text = run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", path])
    functions, body = {}, []
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            body = functions.setdefault(head[1], [])
        elif row := re.match(r"\s*([0-9a-f]+):\t(\S+)(?:\t(.*))?$", line):
            operands = re.sub(r"\s*(<[^>]*>|//.*)", "", row[3] or "").strip()
            target = int(operands.split(",")[-1].strip(), 16) if BRANCH.match(row[2]) else None
            body.append(Instruction(int(row[1], 16), row[2], operands, target))
    return functions


def run(command: list[str], text: str | None = None) -> str:
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def loops(body: list[Instruction]) -> list[tuple[int, int]]:
    """First and last index of each loop: what a branch back spans. Of several with one beginning, the longest."""
    index = {instruction.address: i for i, instruction in enumerate(body)}
    found = {}
    for i, instruction in enumerate(body):
        begin = index.get(instruction.target)
        if begin is not None and begin <= i:
            found[begin] = max(found.get(begin, 0), i)
    return list(found.items())


def dots(instructions: list[Instruction]) -> int:
    return sum(bool(DOT.match(instruction.name)) for instruction in instructions)


def nest(kernel: Kernel, body: list[Instruction]) -> list[tuple[int, int]]:
    """The innermost loop, those around it with trips, and the loop whose rounds are counted."""
    if kernel.dots == 0:
        return [max(loops(body), key=lambda loop: loop[1] - loop[0])]
    multiplying = [loop for loop in loops(body) if dots(body[loop[0] : loop[1] + 1])]
    within = lambda inner, outer: inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]
    for inner in multiplying:
        if any(within(loop, inner) for loop in multiplying) or dots(body[inner[0] : inner[1] + 1]) != kernel.dots:
            continue
        around = sorted((loop for loop in multiplying if within(inner, loop)), key=lambda loop: loop[1] - loop[0])
        return [inner, *around][: len(kernel.trips) + 1]
    sys.exit(f"{kernel.label}: no innermost loop with {kernel.dots} products; has the code changed?")


def trace(kernel: Kernel, body: list[Instruction]) -> list[Instruction]:
    """The instructions of one round."""
    *inner, outer = nest(kernel, body)
    trips = {end: count for (_, end), count in zip(inner, kernel.trips)}
    others = sorted(end for begin, end in loops(body) if outer[0] <= begin and end < outer[1] and end not in trips)
    if len(others) != len(kernel.others):
        sys.exit(f"{kernel.label}: {len(others)} loops within without products; has the code changed?")
    trips.update(zip(others, kernel.others))
    index = {instruction.address: i for i, instruction in enumerate(body)}
    out, rounds, i = [], {}, outer[0]
    while i <= outer[1]:
        out.append(body[i])
        if len(out) > 100_000:
            sys.exit(f"{kernel.label}: the loop does not end")
        target = index.get(body[i].target)
        if target is not None and target <= i and i != outer[1]:
            rounds[i] = rounds.get(i, 0) + 1
            if rounds[i] % trips[i]:
                i = target
                continue
        elif body[i].name == "b" and target is not None and target > i:
            i = target
            continue
        i += 1
    return out


def cycles(instructions: list[Instruction], cpu: str) -> float:
    """Modelled cycles of a round, in a steady state."""
    lines = [".Lhere:"]
    for instruction in instructions:
        operands = instruction.operands
        if instruction.target is not None:
            operands = re.sub(r"[0-9a-f]+$", ".Lhere", operands)
        lines.append(f"{instruction.name} {operands}")
    iterations = max(20, 20_000 // len(instructions))
    command = ["llvm-mca-22", "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={iterations}"]
    report = run([*command, "-instruction-info=0", "-"], "\n".join(lines) + "\n")
    return int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / iterations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", nargs="+", metavar="NAME=FILE", help="forebay, dotprod and i8mm")
    files = dict(argument.split("=", 1) for argument in parser.parse_args().objects)
    functions = {name: [disassemble(path) for path in paths.split(",")] for name, paths in files.items()}
    section = None
    for kernel in KERNELS:
        if kernel.file not in functions:
            continue
        if kernel.section != section:
            section = kernel.section
            print(f"\n## {section}\n")
            print("| | instructions per weight | " + " | ".join(f"cycles per 32 on {cpu}" for cpu in CPUS) + " |")
            print("|---|" + "---:|" * (1 + len(CPUS)))
        bodies = [body for file in functions[kernel.file] for name, body in file.items() if re.search(kernel.symbol, name)]
        if not bodies:
            sys.exit(f"{kernel.label}: no symbol like {kernel.symbol}")
        instructions = trace(kernel, bodies[0])
        weights = kernel.weights or sum(PRODUCTS.get(instruction.name, 0) for instruction in instructions)
        modelled = [f"{cycles(instructions, cpu) / weights * 32:.2f}" for cpu in CPUS]
        print(f"| {kernel.label} | {len(instructions) / weights:.3f} | " + " | ".join(modelled) + " |")


if __name__ == "__main__":
    main()
