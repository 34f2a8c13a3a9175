# SPDX-License-Identifier: Apache-2.0
"""From the rounds of a group of workers to figures, the table and the JSON file."""
import dataclasses
import json
import math
import os
import pathlib
import statistics
import time
from typing import Callable, Optional


def rate(numbers):
    return numbers["tokens"] / numbers["seconds"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """value: from the numbers of one round, by worker; a KeyError means that a worker is not there. The goal is a lower
    limit where higher is better, else an upper one."""
    name: str
    unit: str
    value: Callable[[dict], float]
    goal: Optional[float] = None
    better: str = "higher"


def with_best(rounds, name, candidates):
    """The rounds with another worker `name`: the candidate with the highest median rate. And which one that is (None:
    none is there)."""
    def median(candidate):
        return statistics.median(rate(one[candidate]) for one in rounds)

    there = [candidate for candidate in candidates if rounds and all(candidate in one for one in rounds)]
    if not there:
        return rounds, None
    best = max(there, key=median)
    return [{**one, name: one[best]} for one in rounds], best


def evaluate(figure, rounds):
    """The median over the rounds and their spread, (largest - smallest) / median; None where it cannot be told."""
    try:
        values = [figure.value(one) for one in rounds]
    except KeyError:
        return None
    if not values or not all(math.isfinite(value) for value in values):
        return None
    value = statistics.median(values)
    row = {"name": figure.name, "value": value, "unit": figure.unit, "goal": figure.goal,
           "spread": (max(values) - min(values)) / abs(value) if value else 0.0}
    if figure.goal is not None:
        row["better"] = figure.better
        row["met"] = value >= figure.goal if figure.better == "higher" else value <= figure.goal
    return row


def number(value):
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(rows):
    """Text for people: figures with goals first."""
    lines = [("figure", "value", "unit", "goal", "spread", "")]
    for row in sorted(rows, key=lambda row: row["goal"] is None):
        goal = "" if row["goal"] is None else (">= " if row["better"] == "higher" else "<= ") + number(row["goal"])
        mark = "" if row["goal"] is None else ("met" if row["met"] else "MISSED")
        lines.append((row["name"], number(row["value"]), row["unit"], goal, f"{100 * row['spread']:.0f}%", mark))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def cpu_info():
    """Fields of the first processor in /proc/cpuinfo; empty on other systems."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    fields = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in fields}


def machine():
    """Of the processor and the memory; bench.py adds the programs."""
    info = cpu_info()
    flags = set(info.get("flags", "").split())
    wanted = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"]
    return {"processor": info.get("model name", "unknown"),
            "family_model": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "instructions": [flag for flag in wanted if flag in flags]}


def busy_share(seconds=1.0):
    """How much of the processors other programs use now, 0 to 1; 0 where the system does not say."""
    def times():
        first = pathlib.Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        fields = [int(field) for field in first.split()[1:]]
        return sum(fields[:8]), fields[3] + fields[4]  # all; idle and waiting

    try:
        before = times()
        time.sleep(seconds)
        after = times()
    except OSError:
        return 0.0
    return 1 - (after[1] - before[1]) / max(1, after[0] - before[0])


def write_json(path, about, rows, notes):
    """Whole or not at all."""
    part = pathlib.Path(f"{path}.part")
    content = {"machine": about, "figures": rows, "notes": notes}
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
