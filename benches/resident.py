#!/usr/bin/env python3
"""Prompts and decoding with all weights in memory: forebay, llama.cpp and ik_llama.cpp side by side.

    benches/resident.py --llama DIR [--ik DIR] --model MODEL.gguf [--model MODEL.gguf ...]

DIR is where a peer's `llama-bench` lies. For each model and number of threads a round runs every program once, directly after
one another; the order moves on from round to round. Before each run of ours the machine's memory is read and its cores'
peak of products is taken, in the same process (`forebay bench --resident`). A Markdown table and a JSON file with every run
land in benches/results. README.md, beside this script, tells what is measured.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

from common import HERE, describe_commit, describe_machine, first_line, ratio, settle, sha256, table

# How each peer may be run; of the variants of one the better median counts, for each figure by itself. Repacking makes
# llama.cpp's faster kernels possible; `-rtr` is the like in ik_llama.cpp, `-fmoe` and others do not concern dense models.
LLAMA_VARIANTS = {"repack": ["--repack", "1"], "no repack": ["--repack", "0"]}
IK_VARIANTS = {"run-time repack": ["-rtr", "1", "-fa", "1"], "as is": ["-rtr", "0", "-fa", "1"]}


def ours(options, model, threads):
    command = [options.forebay, "bench", str(model), "--resident", "--json", "--rounds", "1"]
    command += ["--threads", str(threads), "--prompt-tokens", str(options.prompt), "-n", str(options.tokens)]
    return command


def theirs(bench, options, model, threads, flags):
    command = [str(bench), "-m", str(model), "-t", str(threads), "-p", str(options.prompt), "-n", str(options.tokens)]
    return [*command, "-r", "1", "-o", "json", *flags]


def programs(options, model, threads):
    """(family, variant, command) of every contestant."""
    yield "forebay", "", ours(options, model, threads)
    for family, directory, variants in [("llama.cpp", options.llama, LLAMA_VARIANTS), ("ik_llama.cpp", options.ik, IK_VARIANTS)]:
        if directory:
            for variant, flags in variants.items():
                yield family, variant, theirs(directory / "llama-bench", options, model, threads, flags)


def read_ours(report):
    macs = report["products_per_token"] * report["prompt_tokens_per_s"]
    return {
        "prompt": report["prompt_tokens_per_s"],
        "decode": report["decode"][0]["tokens_per_s"],
        "memory share": report["decode"][0]["memory_share"],
        "memory": report["memory_bytes_per_s"],
        "peak share": macs / report["peak_products_per_s"] if report["peak_products_per_s"] else None,
        "peak": report["peak_products_per_s"],
    }


def read_theirs(rows):
    prompt = next(row["avg_ts"] for row in rows if row["n_gen"] == 0)
    return {"prompt": prompt, "decode": next(row["avg_ts"] for row in rows if row["n_prompt"] == 0)}


def run(family, command):
    environment = dict(os.environ)
    if family != "forebay":
        library = pathlib.Path(command[0]).parent
        environment["LD_LIBRARY_PATH"] = f"{library}:{library.parent}/ggml/src:{library.parent}/src"
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
    report = json.loads(done.stdout)
    return read_ours(report) if family == "forebay" else read_theirs(report)


def contest(options):
    runs = []
    for number in range(options.rounds):
        for model in options.model:
            for threads in options.threads:
                all_programs = list(programs(options, model, threads))
                first = number % len(all_programs)
                for family, variant, command in all_programs[first:] + all_programs[:first]:
                    busy = settle(options.settle)
                    result = run(family, command)
                    who = f"{family} {variant}".strip()
                    print(
                        f"round {number + 1}: {model.stem}, {threads} threads, {who}: "
                        f"prompt {result['prompt']:.1f}, decode {result['decode']:.2f} tokens/s",
                        file=sys.stderr,
                    )
                    key = {"round": number + 1, "model": model.stem, "threads": threads, "family": family}
                    runs.append({**key, "variant": variant, "busy": busy, **result})
    return runs


def median_of(runs, figure):
    return statistics.median(r[figure] for r in runs)


def best(runs, figure):
    """The variant with the best median of a figure: (median, text)."""
    by_variant = {}
    for r in runs:
        by_variant.setdefault(r["variant"], []).append(r)
    medians = {variant: median_of(same, figure) for variant, same in by_variant.items()}
    variant = max(medians, key=medians.get)
    values = [r[figure] for r in by_variant[variant]]
    text = f"{medians[variant]:.2f} ({min(values):.2f}..{max(values):.2f})"
    return medians[variant], text + (f", {variant}" if variant else "")


def render(facts, runs, options):
    families = list(dict.fromkeys(r["family"] for r in runs))
    peers = [family for family in families if family != "forebay"]
    parts = ["# Resident: forebay beside its peers", table(["", ""], facts.items())]
    for figure, title in [("decode", f"Decoding {options.tokens} tokens, tokens/s"), ("prompt", f"A prompt of {options.prompt} tokens, tokens/s")]:
        rows = []
        for model in options.model:
            for threads in options.threads:
                cells = {
                    family: best([r for r in runs if (r["model"], r["threads"], r["family"]) == (model.stem, threads, family)], figure)
                    for family in families
                }
                mine = [r for r in runs if (r["model"], r["threads"], r["family"]) == (model.stem, threads, "forebay")]
                share, of = ("memory share", "memory") if figure == "decode" else ("peak share", "peak")
                known = mine[0][of] is not None
                bound = f"{median_of(mine, share):.1%} of {median_of(mine, of) / 1e9:.1f} G/s" if known else "–"
                ratios = [ratio(cells["forebay"][0], cells[peer][0]) for peer in peers]
                rows.append([model.stem, threads, *(cells[family][1] for family in families), *ratios, bound])
        what = "memory read" if figure == "decode" else "peak of products"
        head = ["model", "threads", *families, *(f"÷ {peer}" for peer in peers), f"of the {what}"]
        parts += [f"## {title}", table(head, rows)]
    parts += [
        "## Conditions",
        f"Medians (lowest..highest) of {max(r['round'] for r in runs)} interleaved rounds; of a peer's variants the better one, for "
        f"each figure by itself. Before a run the machine was at most {max(r['busy'] for r in runs):.0%} busy with other things.",
        "## Command",
        "```\n" + shlex.join(["benches/resident.py", *options.told]) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, action="append", required=True, help="a GGUF file; again for more")
    parser.add_argument("--llama", type=pathlib.Path, help="directory of llama.cpp's llama-bench")
    parser.add_argument("--ik", type=pathlib.Path, help="directory of ik_llama.cpp's llama-bench")
    parser.add_argument("--forebay", default=str(HERE.parent / "target/release/forebay"), help="our program")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=30, help="seconds to wait for a quiet machine, at most")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    options = parser.parse_args()
    options.told = ["--model", *(" --model ".join(m.name for m in options.model)).split(" ")]
    options.told += ["--rounds", str(options.rounds), "--tokens", str(options.tokens)]
    for flag, directory in [("--llama", options.llama), ("--ik", options.ik)]:
        options.told += [flag, "DIR"] if directory else []
    return options


def main():
    options = parse_arguments()
    now = datetime.datetime.now(datetime.timezone.utc)
    facts = {"date": now.strftime("%Y-%m-%d %H:%M UTC"), **describe_machine(), "forebay commit": describe_commit()}
    for model in options.model:
        facts[f"{model.stem}, sha256"] = sha256(model)
    if options.llama:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(options.llama)}
        facts["llama.cpp"] = first_line([str(options.llama / "llama-completion"), "--version"], env=environment)
    runs = contest(options)
    stem = options.out / f"{now.strftime('%Y-%m-%d-%H%M')}-resident"
    options.out.mkdir(parents=True, exist_ok=True)
    text = render(facts, runs, options)
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps({"facts": facts, "runs": runs}, indent=1, default=str) + "\n")
    print(text)
    print(f"written to {stem}.md and .json", file=sys.stderr)


if __name__ == "__main__":
    main()
