# SPDX-License-Identifier: Apache-2.0
"""The protocol of tests/bench/driver/rounds.h: ready line, then one round for every line of standard input. And the
search for the fastest of several ways to do the same."""
import json
import sys
import time


def say(numbers):
    print(json.dumps(numbers), flush=True)


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_of(variants, budget):
    """variants: (name, function that makes the work). Each is made, run once to warm up (and compile), and timed a few
    times. The fastest: (name, work, seconds, {name: seconds or error}). None is begun after `budget` seconds."""
    best, tried, start = None, {}, time.perf_counter()
    for name, make in variants:
        if best is not None and time.perf_counter() - start > budget:
            tried[name] = "not tried: no time left"
            continue
        try:
            work = make()
            first = seconds_of(work)
            seconds = seconds_of(work)
            print(f"{name}: {seconds:.3f} s, the first time {first:.1f} s", file=sys.stderr, flush=True)
            if best is None or seconds < 2 * best[2]:  # else it is hopeless
                seconds = min(seconds, seconds_of(work), seconds_of(work))
        except Exception as error:  # a way that this machine does not have (no compiler, say)
            tried[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        tried[name] = seconds
        if best is None or seconds < best[2]:
            best = (name, work, seconds)
        del work
    if best is None:
        sys.exit(f"PyTorch can do none of them: {tried}")
    return (*best, tried)


def serve(variants, tokens, at_least, budget):
    """tokens: of one piece of work. A round repeats it for `at_least` seconds."""
    name, work, seconds, tried = best_of(variants, budget)
    times = max(1, round(at_least / seconds + 0.5))
    say({"variant": name, "tried": tried})
    for _ in sys.stdin:
        say({"seconds": seconds_of(lambda: [work() for _ in range(times)]), "tokens": times * tokens})
