#!/usr/bin/env python3
"""Decoding speed of forebay and llama.cpp, side by side on a small machine.

    sudo benches/against-llama.py --llama DIR --model MODEL.gguf --flash 1500MB
    sudo benches/against-llama.py --llama DIR --model MODEL.gguf --plain

Both continue the same prompt greedily, on the same threads, under the same hard memory limit and with the same flash below
them (see `small-machine`, beside this script). The runs of one round follow one another directly, each in a fresh control
group with nothing of the model in memory, and the order moves on from round to round. A Markdown table and a JSON file with
every run land in benches/results. README.md, beside this script, tells what is measured and why it is fair.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from common import HERE, MIB, cpu_ticks, describe_commit, describe_machine, first_line, ratio, settle, sha256, table

SMALL_MACHINE = HERE / "small-machine"

# What forebay promises: the process lives at its --ram plus 5 %. So it is given the limit divided by this.
FOREBAY_HEADROOM = 1.05

# How llama.cpp can hold its weights. `dio` and `none` read them all into anonymous memory, and repacking (which makes for
# faster kernels) copies most of them there, so these need a limit above the model's size, or nearly so.
LLAMA_MODES = {
    "mmap": ["--load-mode", "mmap", "--no-repack"],
    "mmap+repack": ["--load-mode", "mmap", "--repack"],
    "dio": ["--load-mode", "dio", "--no-repack"],
    "dio+repack": ["--load-mode", "dio", "--repack"],
    "none": ["--load-mode", "none", "--no-repack"],
    "none+repack": ["--load-mode", "none", "--repack"],
}

# How llama.cpp's OpenMP threads wait for one another; `default` leaves it to the OpenMP library.
OMP_WAITS = ("default", "active", "passive")

PROMPT = "The history of bread begins"


@dataclasses.dataclass
class Program:
    """One contestant: `family` is what it is called in the tables, `variant` tells apart those of which the better counts."""

    family: str
    variant: str
    command: list
    environment: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self):
        return f"{self.family} ({self.variant})" if self.variant else self.family


@dataclasses.dataclass
class Run:
    """What came of one run. `status` is ok, killed (for want of memory), refused, timeout or failed."""

    round: int
    limit_mib: int
    family: str
    variant: str
    status: str
    tokens_per_s: float | None = None
    text: str = ""
    peak_mib: int = 0
    anonymous_mib: int = 0
    cache_mib: int = 0
    read_mib: int = 0
    seconds: float = 0.0
    busy_before: float = 0.0
    stolen: float = 0.0
    error: str = ""
    detail: dict = dataclasses.field(default_factory=dict)  # forebay's own report


# --- the machine ---------------------------------------------------------------------------------


def rate_as_told(rate):
    """1500000000 as 1.5 GB/s; what has a unit already keeps it."""
    return f"{int(rate) / 1e9:g} GB/s" if rate.isdigit() else f"{rate}/s"


def model_files(path):
    """The model's file, or all of them if it is split (NAME-00001-of-00003.gguf)."""
    match = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", path.name)
    if not match:
        return [path]
    return [path.with_name(f"{match[1]}-{i:05}-of-{match[2]}.gguf") for i in range(1, int(match[2]) + 1)]


class Flash:
    """Where the model lies during the runs: a throttled device of its own, or (no `rate`) the disk where it is."""

    def __init__(self, files, rate, readahead):
        self.rate, self.device, self.files = rate, None, files
        if rate:
            command = [SMALL_MACHINE, "setup", "--readahead", str(readahead)]
            for file in files:
                command += ["--file", file]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise SystemExit("no flash device")
            self.device = pathlib.Path(done.stdout.strip())
            self.files = [self.device / "files" / file.name for file in files]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.device:
            subprocess.run([SMALL_MACHINE, "teardown", self.device], check=False)

    def wrap(self, command, limit_mib, report):
        wrapped = [SMALL_MACHINE, "run", "--ram", f"{limit_mib}MiB", "--report", report]
        if self.device:
            wrapped += ["--flash", self.rate, "--device", self.device]
        else:
            wrapped.append("--plain")
            for file in self.files:
                wrapped += ["--file", file]
        return [str(word) for word in [*wrapped, "--", *command]]


# --- one run -------------------------------------------------------------------------------------


def execute(command, environment, timeout):
    """(exit status or None when time ran out, stdout, stderr)"""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    )
    try:
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        return None, out, err
    except BaseException:
        process.terminate()  # small-machine ends what it runs and removes the group
        process.wait()
        raise


def find_number(value, key):
    """The number under `key`, however deep in a JSON value."""
    if isinstance(value, dict):
        if isinstance(value.get(key), (int, float)):
            return float(value[key])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if (found := find_number(item, key)) is not None:
                return found
    return None


def read_forebay(out, _err):
    answer = json.loads(out)
    text = str(answer.pop("text", ""))
    return find_number(answer, "decode_tokens_per_s"), text, answer


def read_llama(out, err):
    # "eval time = 414.52 ms / 11 runs (...)" is the decoding; "prompt eval time = ..." is not.
    match = re.search(r"(?<!prompt )eval time =\s*([\d.]+) ms /\s*(\d+) runs", err)
    return (int(match[2]) / float(match[1]) * 1000 if match else None), out.rstrip("\n"), {}


def measure(program, flash, limit_mib, number, options):
    busy = settle(options.settle)
    with tempfile.TemporaryDirectory() as scratch:
        report_path = pathlib.Path(scratch) / "report.json"
        command = flash.wrap(program.command, limit_mib, report_path)
        ticks, start = cpu_ticks(), time.monotonic()
        status, out, err = execute(command, program.environment, options.timeout)
        seconds, ticks_after = time.monotonic() - start, cpu_ticks()
        report = json.loads(report_path.read_text()) if report_path.exists() else {}

    run = Run(number, limit_mib, program.family, program.variant, "ok")
    run.seconds = round(seconds, 2)
    run.busy_before = round(busy, 3)
    run.stolen = round((ticks_after[2] - ticks[2]) / max(1, ticks_after[0] - ticks[0]), 4)
    for name in ("peak", "anonymous", "cache", "read"):
        setattr(run, f"{name}_mib", report.get(f"{name}_bytes", 0) // MIB)

    if status is None:
        run.status = "timeout"
    elif report.get("oom_kills", 0) > 0:
        run.status = "killed"
    elif status == 3 and program.family == "forebay":
        run.status = "refused"
    elif status == 0:
        try:
            read = read_forebay if program.family == "forebay" else read_llama
            run.tokens_per_s, run.text, run.detail = read(out, err)
        except (ValueError, AttributeError) as problem:
            run.error = f"unreadable answer: {problem}"
    if run.status == "ok" and not run.tokens_per_s:
        run.status = "failed"
    if run.status in ("failed", "refused"):
        said = [line for line in err.strip().splitlines() if not line.startswith("small-machine: peak")]
        run.error = run.error or (f"exit status {status}: {said[-1]}" if said else f"exit status {status}")
    return run


def measure_flash(flash):
    """Bytes per second of plain sequential reading: direct I/O, 8 MiB at a time, at most 1 GiB; a short model several times, of
    which the last counts, as a throttle that has rested gives more for a while."""
    times = -(-(2 << 30) // min(flash.files[0].stat().st_size, 1 << 30))
    dd = f"dd if={shlex.quote(str(flash.files[0]))} of=/dev/null bs=8M count=128 iflag=direct"
    reading = ["sh", "-c", f"for i in $(seq {times}); do {dd}; done"]
    status, _, err = execute(flash.wrap(reading, 64, "/dev/null"), {"LC_ALL": "C"}, 300)
    told = re.findall(r"^(\d+) bytes.* copied, ([\d.e-]+) s", err, re.MULTILINE)
    return int(told[-1][0]) / float(told[-1][1]) if status == 0 and told else None


# --- the contest ---------------------------------------------------------------------------------


def programs_for(limit_mib, model, options):
    ram_mib = int(limit_mib / FOREBAY_HEADROOM)
    forebay = [options.forebay, "run", model, "--raw", "-p", options.prompt, "-n", options.tokens]
    forebay += ["--ram", f"{ram_mib}MiB", "--threads", options.threads, "--ignore-eos", "--temp", "0", "--json"]
    programs = [Program("forebay", "", [str(word) for word in forebay + options.forebay_args])]

    # A context and a batch that are no larger than needed: less memory for them is more page cache for the weights.
    llama = [options.llama / "llama-completion", "-m", model, "-p", options.prompt, "-n", options.tokens]
    llama += ["-t", options.threads, "-tb", options.threads, "-c", options.context, "-b", 32, "-ub", 32]
    llama += ["--temp", "0", "--ignore-eos", "-no-cnv", "--no-display-prompt", "--fit", "off"]
    for mode in options.llama_modes:
        for wait in options.omp_wait:
            environment = {"LD_LIBRARY_PATH": str(options.llama)}
            if wait != "default":
                environment["OMP_WAIT_POLICY"] = wait
            variant = f"{wait} wait" if len(options.omp_wait) > 1 else ""
            command = [str(word) for word in llama + LLAMA_MODES[mode] + options.llama_args]
            programs.append(Program(f"llama.cpp {mode}", variant, command, environment))
    return programs


def contest(flash, options, save):
    model = flash.files[0]
    runs, rates = [], []
    for number in range(1, options.rounds + 1):
        if rate := measure_flash(flash):
            rates.append(rate)
            note(f"round {number} of {options.rounds}: the flash reads {rate / 1e9:.2f} GB/s")
        for limit_mib in options.ram:
            programs = programs_for(limit_mib, model, options)
            turn = (number - 1) % len(programs)
            for program in programs[turn:] + programs[:turn]:
                run = measure(program, flash, limit_mib, number, options)
                runs.append(run)
                note(f"  {limit_mib:5} MiB  {program.name:36} {tell(run)}")
        save(runs, rates)
    return runs


def tell(run):
    said = f"{run.tokens_per_s:6.2f} tokens/s" if run.status == "ok" else f"{run.status}"
    said += f"   (peak {run.peak_mib} MiB, anonymous {run.anonymous_mib} MiB, {run.seconds:.0f} s)"
    if run.busy_before > 0.1:
        said += f"   the machine was {run.busy_before:.0%} busy before"
    return said + (f"   {run.error}" if run.error else "")


def note(line):
    print(line, file=sys.stderr, flush=True)


# --- the tables ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Cell:
    """The runs of one family at one limit: of its variants, the one with the best median."""

    median: float | None
    text: str
    runs: list


def cell_of(runs):
    by_variant = {}
    for run in runs:
        by_variant.setdefault(run.variant, []).append(run)
    cells = []
    for variant, same in by_variant.items():
        speeds = [run.tokens_per_s for run in same if run.status == "ok"]
        fates = ", ".join(sorted({run.status for run in same if run.status != "ok"}))
        if speeds:
            median = statistics.median(speeds)
            text = f"{median:.2f} ({min(speeds):.2f}..{max(speeds):.2f})"
            text += f", {variant}" if variant else ""
            text += f", {fates} {len(same) - len(speeds)} of {len(same)}" if fates else ""
            cells.append(Cell(median, text, same))
        else:
            cells.append(Cell(None, fates, same))
    return max(cells, key=lambda cell: cell.median or 0)


def render(facts, runs, rates, options):
    peers = [f"llama.cpp {mode}" for mode in options.llama_modes]
    families = ["forebay", *peers]
    cells = {
        (limit, family): cell_of([run for run in runs if (run.limit_mib, run.family) == (limit, family)])
        for limit in options.ram
        for family in families
    }

    speed_rows, memory_rows = [], []
    for limit in options.ram:
        ours = cells[limit, "forebay"]
        theirs = [cells[limit, peer] for peer in peers]
        best = max((cell.median for cell in theirs if cell.median), default=None)
        ratios = [ratio(ours.median, cell.median) for cell in theirs]
        speed_rows.append([f"{limit} MiB", ours.text, *(c.text for c in theirs), *ratios, ratio(ours.median, best)])
        for family in families:
            seen = cells[limit, family].runs
            most = [max(getattr(r, f"{k}_mib") for r in seen) for k in ("peak", "anonymous", "cache", "read")]
            memory_rows.append([f"{limit} MiB", family, *most])

    flash = f"{statistics.median(rates) / 1e9:.2f} GB/s ({min(rates) / 1e9:.2f}..{max(rates) / 1e9:.2f})" if rates else "?"
    speed_head = ["limit", "forebay", *peers, *(f"÷ {p.removeprefix('llama.cpp ')}" for p in peers), "÷ best"]
    memory_head = ["limit", "program", "peak MiB", "anonymous MiB", "page cache MiB", "read MiB"]
    done = max(run.round for run in runs)
    most_busy = max(run.busy_before for run in runs)
    most_stolen = max(run.stolen for run in runs)
    texts = {}
    for family in families:
        different = sorted({run.text for run in runs if run.family == family and run.text})
        texts[family] = " / ".join(json.dumps(text, ensure_ascii=False) for text in different) or "–"
    parts = [
        f"# forebay and llama.cpp, {facts['model']}, {facts['flash']}",
        table(["", ""], [[key, value] for key, value in facts.items()] + [["flash as measured", flash]]),
        "## Decoding, tokens/s",
        f"Median (slowest..fastest) of {done} interleaved rounds, {options.tokens} tokens each, after the prompt, without "
        "loading. The limit is hard, the same for all, and counts page cache; forebay is told "
        f"`--ram` = limit / {FOREBAY_HEADROOM}. Last columns: forebay's median divided by the peer's.",
        table(speed_head, speed_rows),
        "## Memory and reading",
        "The most of all rounds: the group's peak as the kernel counted it, its parts as sampled five times a second, and "
        "the bytes read from flash from start to end (0 where the kernel does not count them).",
        table(memory_head, memory_rows),
        "## Conditions",
        f"Before a run the machine was at most {most_busy:.0%} busy with other things; during a run its host took away at "
        f"most {most_stolen:.1%} of its time. The flash as measured is `dd` reading the model in order, 8 MiB at a time, "
        "past the page cache, under the same throttle (a short one several times, of which the last counts).",
        "## What was written",
        "\n".join(f"- {family}: {texts[family]}" for family in families),
        "## Commands",
        "```\n" + "\n".join(commands_as_told(options)) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def commands_as_told(options):
    """The commands with names for the paths."""
    told = []
    for program in programs_for(options.ram[0], pathlib.Path("MODEL"), options):
        words = [pathlib.Path(program.command[0]).name, *program.command[1:]]
        wait = program.environment.get("OMP_WAIT_POLICY")
        told.append((f"OMP_WAIT_POLICY={wait} " if wait else "") + shlex.join(words))
    told[0] += f"    # at {options.ram[0]} MiB"
    return told


# --- the command line ----------------------------------------------------------------------------


def list_of(kind, among=None):
    def parse(text):
        items = [kind(item) for item in text.split(",") if item]
        wrong = [item for item in items if among and item not in among]
        if wrong or not items:
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(among)}" if among else "an empty list")
        return items

    return parse


def limit(text):
    """MiB as a number, percent of the model as they are: its size is not known yet."""
    if re.fullmatch(r"\d+(\.\d+)?%", text):
        return text
    return int(text)


def in_mib(ram, files):
    """A limit in MiB."""
    if isinstance(ram, int):
        return ram
    return int(sum(file.stat().st_size for file in files) * float(ram.rstrip("%")) / 100 / MIB)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--forebay", type=pathlib.Path, default=HERE.parent / "target/release/forebay", metavar="PROGRAM")
    add("--llama", type=pathlib.Path, required=True, metavar="DIR", help="where llama-completion and its libraries are")
    add("--model", type=pathlib.Path, required=True, metavar="GGUF", help="of a split model, the first part")
    add("--ram", type=list_of(limit), default=[350, 500, 700, 900], metavar="LIMIT,...",
        help="hard limits to run under, in MiB, or in percent of the model: 50%%,60%%,70%%")  # fmt: skip
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--flash", metavar="RATE", help="bytes per second of a flash device made for this: 1500MB")
    where.add_argument("--plain", action="store_true", help="the model stays on the disk where it is")
    add("--readahead", type=int, default=1024, metavar="KIB", help="the flash device's read-ahead (default %(default)s)")
    add("--threads", type=int, default=2, metavar="N")
    add("--tokens", type=int, default=16, metavar="N", help="to write after the prompt (default %(default)s)")
    add("--context", type=int, default=256, metavar="N", help="llama.cpp's context; forebay takes what it needs")
    add("--rounds", type=int, default=3, metavar="N")
    add("--prompt", default=PROMPT, metavar="TEXT")
    add("--llama-modes", type=list_of(str, LLAMA_MODES), default=["mmap", "mmap+repack"], metavar="MODE,...",
        help=f"of {', '.join(LLAMA_MODES)} (default mmap,mmap+repack)")  # fmt: skip
    add("--omp-wait", type=list_of(str, OMP_WAITS), default=["default", "passive"], metavar="HOW,...",
        help=f"of {', '.join(OMP_WAITS)}: llama.cpp runs with each, the better counts (default default,passive)")  # fmt: skip
    add("--forebay-args", type=shlex.split, default=[], metavar="'ARG...'", help="more for forebay")
    add("--llama-args", type=shlex.split, default=[], metavar="'ARG...'", help="more for llama.cpp")
    add("--timeout", type=float, default=180, metavar="SECONDS", help="of one run (default %(default)s)")
    add("--settle", type=float, default=30, metavar="SECONDS",
        help="how long to wait at most, before a run, for an idle machine (default %(default)s)")  # fmt: skip
    add("--out", type=pathlib.Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()

    for file in [options.forebay, options.llama / "llama-completion", *model_files(options.model)]:
        if not file.is_file():
            parser.error(f"no such file: {file}")
    options.ram = [in_mib(ram, model_files(options.model)) for ram in options.ram]
    if os.geteuid() != 0:
        parser.error("needs root, to make control groups and mounts")
    options.forebay, options.llama, options.model = (
        path.resolve() for path in (options.forebay, options.llama, options.model)
    )
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit that removes the device
    start = datetime.datetime.now(datetime.timezone.utc)
    files = model_files(options.model)
    facts = {
        "date": start.strftime("%Y-%m-%d %H:%M UTC"),
        **describe_machine(),
        "model": options.model.stem,
        "model size": f"{sum(file.stat().st_size for file in files) / MIB:.0f} MiB",
        "model sha256": " ".join(sha256(file) for file in files),
        "flash": f"flash of {rate_as_told(options.flash)}" if options.flash else "plain disk",
        "forebay": first_line([options.forebay, "--version"]),
        "forebay commit": describe_commit(),
        "llama.cpp": first_line([options.llama / "llama-completion", "--version"]),
        "threads": options.threads,
        "prompt": json.dumps(options.prompt),
    }
    if options.flash:
        facts["flash read-ahead"] = f"{options.readahead} KiB"

    options.out.mkdir(parents=True, exist_ok=True)
    rate = re.sub(r"[^\w.]", "", rate_as_told(options.flash).replace("/s", "ps")) if options.flash else "plain"
    name = f"{start:%Y-%m-%d-%H%M}-against-llama-{options.model.stem}-{rate}"
    report, record = (options.out / f"{name}{end}" for end in (".md", ".json"))

    def save(runs, rates):
        report.write_text(render(facts, runs, rates, options))
        every = {"facts": facts, "flash_bytes_per_s": rates, "runs": [dataclasses.asdict(run) for run in runs]}
        record.write_text(json.dumps(every, indent=1, ensure_ascii=False) + "\n")

    with Flash(files, options.flash, options.readahead) as flash:
        contest(flash, options, save)
    print(report.read_text())
    note(f"written: {report.name} and {record.name}")


if __name__ == "__main__":
    main()
