#!/usr/bin/env bash
# Writes benches/neon-model.md: the inner loops of the NEON kernels, and of those of llama.cpp, in the scheduling models of
# llvm-mca. Nothing is run, so any machine will do that has the compilers of .ci/aarch64 and
#   apt-get install g++-aarch64-linux-gnu llvm-22
#
#   benches/neon-model.sh LLAMA_CPP_SOURCE
set -euo pipefail
cd "$(dirname "$0")/.."
llama=${1:?usage: benches/neon-model.sh LLAMA_CPP_SOURCE}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export RUSTC=/usr/bin/rustc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
cargo rustc --release -p forebay-infer --lib --target aarch64-unknown-linux-gnu --target-dir target-aarch64 -- \
  --emit obj="$work/forebay.o" -C codegen-units=1 -C symbol-mangling-version=v0 -C debuginfo=0

arm=$llama/ggml/src/ggml-cpu/arch/arm
flags=(-O3 -D_GNU_SOURCE -DGGML_USE_CPU_REPACK
  -I"$llama/ggml/include" -I"$llama/ggml/src" -I"$llama/ggml/src/ggml-cpu")
for level in dotprod i8mm; do
  march=armv8.2-a+dotprod
  [ "$level" = dotprod ] || march=$march+i8mm
  aarch64-linux-gnu-gcc -std=c11 "${flags[@]}" -march="$march" -c "$arm/quants.c" -o "$work/quants-$level.o"
  aarch64-linux-gnu-g++ -std=c++17 "${flags[@]}" -march="$march" -c "$arm/repack.cpp" -o "$work/repack-$level.o"
done

{
  cat <<TEXT
# Inner loops of the NEON kernels, modelled

**These are figures of a model, not measurements on hardware.** \`llvm-mca\` schedules the instructions of a loop on a
description of a core. It knows no memory (every load hits the first cache), no cost of a branch, nothing of what is before and
after the loop. It has a model of neither Apple's newer cores nor Qualcomm's; the proxies are the large and the middle core of
one Arm generation. It is good for comparing two loops that do the same work, and for nothing else.

Instructions are counted in the loop body, times the rounds of the loops within. "Per weight" and "per 32" count a weight once for
each token that it meets; unpacking to panels is done once for all tokens and counts a weight once. \`vec_dot\` works on rows as
the file has them, \`gemv\` and \`gemm\` of llama.cpp on copies that it repacks when it loads a model.

Made by \`benches/neon-model.sh\`, which has every command and flag, with
$(/usr/bin/rustc --version | cut -d' ' -f1-2) and $(aarch64-linux-gnu-gcc --version | head -1 | sed 's/ (.*) / /') at \`-O3\`, and
llvm-mca $(llvm-mca-22 --version | grep -o 'LLVM version [0-9.]*' | cut -d' ' -f3). The peer is the llama.cpp of llama-cpp-python 0.3.36.
For each loop:

    llvm-mca-22 -mtriple=aarch64-linux-gnu -mcpu=CPU -iterations=N -instruction-info=0
TEXT
  python3 benches/neon-model.py forebay="$work/forebay.o" \
    dotprod="$work/quants-dotprod.o,$work/repack-dotprod.o" i8mm="$work/quants-i8mm.o,$work/repack-i8mm.o"
} > "$work/neon-model.md"
mv "$work/neon-model.md" benches/neon-model.md
