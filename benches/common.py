"""What the side-by-side scripts share: facts about the machine, waiting for it to be quiet, tables."""

import hashlib
import os
import pathlib
import platform
import re
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20


def cpu_ticks():
    """(all, idle, stolen by other guests of the host), in ticks of all cores since boot."""
    numbers = [int(n) for n in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(numbers), numbers[3] + numbers[4], numbers[7]


def busy_share(seconds):
    """The share of the machine's cores that was in use, by anybody, during a pause of ours."""
    before = cpu_ticks()
    time.sleep(seconds)
    after = cpu_ticks()
    return 1 - (after[1] - before[1]) / max(1, after[0] - before[0])


def settle(patience, quiet=0.1):
    """Waits until the machine has nothing else to do, `patience` seconds at most; returns how busy it still is."""
    end = time.monotonic() + patience
    while (busy := busy_share(0.5)) > quiet and time.monotonic() < end:
        time.sleep(0.5)
    return busy


def first_match(pattern, path, default="unknown"):
    match = re.search(pattern, pathlib.Path(path).read_text(), re.MULTILINE)
    return match.group(1) if match else default


def first_line(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else "unknown"


def describe_machine():
    memory_kib = int(first_match(r"^MemTotal:\s+(\d+)", "/proc/meminfo", "0"))
    return {
        "processor": first_match(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo", platform.machine()),
        "cores": os.cpu_count(),
        "memory": f"{memory_kib / MIB:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def describe_commit():
    git = ["git", "-C", str(HERE)]
    commit = first_line([*git, "rev-parse", "HEAD"])
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode != 0
    return commit + (" with changes" if changed and commit != "unknown" else "")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(8 * MIB):
            digest.update(block)
    return digest.hexdigest()


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}x" if ours and theirs else "–"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
