#!/usr/bin/env python3
"""Predicts streamed decoding on this machine, and measures it: probe, simulate, bench.

    benches/predict.py --model MODEL.gguf --model OTHER.gguf [--flash 1500MB] [--windows 30,50,70] [--depths 2,8] [--rounds 3]

With --flash the models lie on a device of that rate that lives as long as the run (see small-machine; needs root), else on the disk
where they are. Before each round the machine is probed; then every case is measured once, and predicted from the probe of the same
round. Medians over the rounds of the ratio of the two are told. The result is written to benches/results/.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from common import HERE, describe_commit, describe_machine, settle, table

FOREBAY = HERE.parent / "target/release/forebay"
SMALL_MACHINE = HERE / "small-machine"


def run_json(prefix, *arguments):
    done = subprocess.run([*prefix, FOREBAY, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr}")
    return json.loads(done.stdout)


def measure(prefix, model, window, depth, tokens):
    report = run_json(prefix, "bench", model, "--windows", window, "--depth", depth, "-n", tokens, "--rounds", 1, "--json")
    return report["windows"][0]


def predict(device, model, seen, depth, tokens):
    arguments = ["--device", device, "--model", model, "--window", seen["window_bytes"], "--page", seen["page_bytes"]]
    report = run_json([], "simulate", *arguments, "--depth", depth, "-n", tokens, "--prompt", 8, "--json")
    return report["figures"]["tok_s"]["nominal"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, type=pathlib.Path)
    parser.add_argument("--flash")
    parser.add_argument("--windows", default="30,50,70")
    parser.add_argument("--depths", default="2,8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    arguments = parser.parse_args()
    windows = [int(w) for w in arguments.windows.split(",")]
    depths = [int(d) for d in arguments.depths.split(",")]

    device, prefix, models = None, [], arguments.model
    if arguments.flash:
        files = [x for model in models for x in ("--file", model)]
        device = subprocess.run([SMALL_MACHINE, "setup", *files], check=True, capture_output=True, text=True).stdout.strip()
        models = [pathlib.Path(device) / "files" / model.name for model in models]
        prefix = [SMALL_MACHINE, "run", "--ram", "8G", "--flash", arguments.flash, "--device", device, "--"]
    cases = [(model, window, depth) for model in models for window in windows for depth in depths]
    samples = {case: [] for case in cases}
    probes = []
    try:
        for round_number in range(arguments.rounds):
            settle(60)
            with tempfile.TemporaryDirectory() as folder:
                profile = pathlib.Path(folder) / "this.toml"
                largest = max(models, key=lambda model: model.stat().st_size)
                probes.append(run_json(prefix, "probe", largest, "--rounds", 1, "-o", profile, "--json"))
                for case in cases:
                    model, window, depth = case
                    print(f"round {round_number + 1}: {model.name} {window} % depth {depth}", file=sys.stderr)
                    seen = measure(prefix, model, window, depth, arguments.tokens)
                    told = predict(profile, model, seen, depth, arguments.tokens)
                    samples[case].append((seen["tokens_per_s"], told, seen["flash_bytes_per_s"] if "flash_bytes_per_s" in seen else None))
    finally:
        if device:
            subprocess.run([SMALL_MACHINE, "teardown", device], check=True)

    rows, errors = [], []
    for (model, window, depth), seen in samples.items():
        ratio = statistics.median(told / measured for measured, told, _ in seen)
        errors.append(ratio - 1)
        measured, told = (statistics.median(s[i] for s in seen) for i in (0, 1))
        rows.append([model.name, f"{window} %", depth, f"{measured:.2f}", f"{told:.2f}", f"{100 * (ratio - 1):+.1f} %"])
    mean = statistics.mean(abs(e) for e in errors)
    worst = max(errors, key=abs)
    machine = describe_machine()
    missed = statistics.median(probe["fit_mean_error"] for probe in probes)
    corrected = statistics.median(probe["corrected_mean_error"] for probe in probes)
    command = " ".join(pathlib.Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:])
    flash = f"{arguments.flash}/s, a loop device" if arguments.flash else "the disk, at its own rate"
    lines = [
        f"# Streamed decoding, predicted and measured, {datetime.date.today()}",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}; {machine['system']}; commit {describe_commit()}.",
        f"Flash: {flash}.",
        f"Command: `benches/predict.py {command}`",
        "",
        f"Mean error {100 * mean:.1f} %, largest {100 * worst:+.1f} %; each the median of {arguments.rounds} interleaved rounds.",
        f"The probes' figures miss their sweeps by {100 * missed:.1f} %, with their corrections by {100 * corrected:.1f} % (medians of means).",
        "",
        table(["model", "window", "depth", "measured, tokens/s", "predicted", "error"], rows),
        "",
    ]
    text = "\n".join(lines)
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M}-predict{'-' + arguments.flash + 'ps' if arguments.flash else ''}.md"
    (HERE / "results" / name).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
