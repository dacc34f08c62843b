"""Measures the index of a large WebShop catalogue on invented products: build, disk, opening, memory, query latency.

Nothing is downloaded: the raw files are written first, in the form of the original's full files, with lengths like
those of its small catalogue and words drawn by Zipf's law, so that lists of postings are as uneven as in a real shop.
Prints a table and writes benchmarks/results/webshop_index.json. A million products need 7 GB of disk and ten minutes:

    python benchmarks/webshop_index.py --products 1000000 --folder /tmp/webshop

Building and querying run in processes of their own, one core each, so that their peak memory is theirs. Queries find
the files in the page cache, as they are after building; a first query after a cold start waits for the disk instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import agentgym  # noqa: F401 - registers the environments
from agentgym.envs.webshop.index import MappedCatalogue
from agentgym.envs.webshop.indexing import build_index

RESULT = Path(__file__).parent / "results" / "webshop_index.json"
PRODUCTS, ATTRIBUTES, HUMAN, INDEX = "items_shuffle.json", "items_ins_v2.json", "items_human_ins.json", "index"
LIMIT = 50
"""Results of a search, as the original asks for."""
BYTES_A_PRODUCT = 7_000
"""Disk that raw files, index and scratch files take together, with room to spare."""

COMMON = (
    "the and for with your of to in a is it size color price find me lower than dollars black white women men easy "
    "high quality set pack natural soft design light home use made cotton steel wood shoes shirt hair skin"
)
DEPARTMENTS = ("beauty", "electronics", "fashion", "garden", "grocery")


class Shop:
    """Invents raw products, as the original's files describe them.

    Args:
        seed: Of everything drawn.
        words: Size of the vocabulary.
    """

    def __init__(self, seed: int = 0, words: int = 800_000) -> None:
        self._rng, self._scalars = np.random.default_rng(seed), random.Random(seed)
        self._drawn: list[str] = []
        self._used = 0
        onsets, nuclei = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "ch", "st"), "aeiou"
        syllables = [onset + nucleus for onset in onsets for nucleus in nuclei]
        names = COMMON.split()
        for number in range(words - len(names)):
            number, name = number + 81, ""
            while number:
                number, digit = divmod(number, len(syllables))
                name += syllables[digit]
            names.append(name)
        self._names = np.array(names, dtype=object)
        chances = 1.0 / (np.arange(words) + 5.0) ** 1.3  # Zipf's law, as the small catalogue's terms have it
        self._chances = np.cumsum(chances / chances.sum())
        self._kinds = [self.words(2) for _ in range(1500)]
        self._phrases = [self.words(2) for _ in range(3000)]

    def words(self, count: int) -> str:
        """Return ``count`` words, common ones often."""
        if len(self._drawn) - self._used < count:
            drawn = np.searchsorted(self._chances, self._rng.random(1 << 16))
            self._drawn, self._used = self._names[np.minimum(drawn, len(self._names) - 1)].tolist(), 0
        self._used += count
        return " ".join(self._drawn[self._used - count : self._used])

    def _length(self, mean: float, largest: int) -> int:
        return min(int(self._scalars.expovariate(1 / mean)), largest)

    def product(self, number: int) -> dict[str, Any]:
        """Return a raw product."""
        draw = self._scalars
        options: dict[str, Any] | str = ""
        if draw.random() < 0.48:
            options = {
                name: [{"value": self.words(2), "image": None} for _ in range(1 + self._length(4, 40))]
                for name in ("Color", "Size")[: draw.randint(1, 2)]
            }
        low = draw.randint(300, 9000) / 100
        [price] = draw.choices(("", f"${low}", f"${low} - ${low + 10}"), (9, 82, 9))
        kind = self._kinds[int(len(self._kinds) * draw.random() ** 2)]
        return {
            "name": self.words(draw.randint(4, 31)),
            "full_description": self.words(self._length(80, 2000)),
            "images": [f"https://images.example/I/{number:09d}{i}.jpg" for i in range(6)],
            "product_category": " › ".join(["Home", kind, self._kinds[number % len(self._kinds)]]),
            "average_rating": "",
            "small_description": [self.words(1 + self._length(16, 200)) for _ in range(5)],
            "customization_options": options,
            "asin": asin_of(number),
            "category": draw.choice(DEPARTMENTS),
            "query": kind,
            "page": number % 400,
            "pricing": price,
        }

    def attributes(self) -> dict[str, Any]:
        """Return the mined attributes of a product, with an instruction for two in five."""
        count = 1 + self._length(2.5, 20)
        found = [self._phrases[int(len(self._phrases) * self._scalars.random() ** 2)] for _ in range(count)]
        if self._scalars.random() > 0.415:
            return {"attributes": found}
        asked = found[: self._scalars.randint(1, 3)]
        text = f"Find me {', '.join(asked)} {self.words(2)}"
        return {"attributes": found, "instruction": text, "instruction_attributes": asked}

    def instruction(self) -> str:
        """Return what an agent that copies its instruction searches for."""
        asked = ", ".join(self.attributes()["attributes"][:3])
        return f"Find me {asked} {self.words(4)} with color: {self.words(1)}, and price lower than 40.00 dollars"

    def human(self, number: int) -> list[dict[str, Any]]:
        """Return what a person asks of a product."""
        entry = self.attributes()
        return [
            {
                "asin": asin_of(number),
                "instruction": self.instruction(),
                "instruction_attributes": entry["attributes"][:1],
                "instruction_options": [],
            }
        ]


def asin_of(number: int) -> str:
    """Return the identifier of a product; they do not come in order."""
    return f"B{number * 7_654_321 % 999_999_937:09d}"


# Raw files ------------------------------------------------------------------------------------------------------------


def write_raw(folder: Path, products: int) -> None:
    """Write the three files of the original, with every hundredth product asked for by a person."""
    shop = Shop()
    with (folder / PRODUCTS).open("w", encoding="utf-8") as items, (folder / ATTRIBUTES).open("w") as mined:
        for number in range(products):
            items.write(("[" if number == 0 else ", ") + json.dumps(shop.product(number), ensure_ascii=False))
            mined.write(("{" if number == 0 else ", ") + f'"{asin_of(number)}": {json.dumps(shop.attributes())}')
        items.write("]")
        mined.write("}")
    asked = {asin_of(number): shop.human(number) for number in range(0, products, 100)}
    (folder / HUMAN).write_text(json.dumps(asked), encoding="utf-8")


# Measuring, each in a process of its own ------------------------------------------------------------------------------


class PeakMemory:
    """Watch the memory of this process that no file backs; ``with`` starts and ends it."""

    def __enter__(self) -> PeakMemory:
        self.mib = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self.mib = max(self.mib, anonymous_mib())


def anonymous_mib() -> float:
    """Return the memory of this process that no file backs."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure_build(folder: Path) -> dict[str, float]:
    """Build the index; return seconds and memory."""
    before = anonymous_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    with PeakMemory() as peak:
        build_index(folder, folder / INDEX, nouns="plain")
    return {
        "CPU seconds": time.process_time() - cpu,
        "wall seconds": time.perf_counter() - wall,
        "peak memory, no file behind it, MiB": peak.mib,
        "of it before the build, imports alone, MiB": before,
        "peak resident, mapped pages of scratch files included, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / 1024,
    }


def measure_queries(folder: Path, count: int) -> dict[str, Any]:
    """Open the index and search it; return times and memory."""
    shop = Shop(seed=1)
    queries = {"instructions": [shop.instruction() for _ in range(count)]}
    queries["three words"] = [shop.words(3) for _ in range(count)]
    before = anonymous_mib()
    started = time.perf_counter()
    catalogue = MappedCatalogue(folder / INDEX)
    found: dict[str, Any] = {"open, ms": 1e3 * (time.perf_counter() - started)}
    started = time.perf_counter()
    catalogue.search(queries["instructions"][0], LIMIT)
    found["first query, ms"] = 1e3 * (time.perf_counter() - started)
    for name, texts in queries.items():
        times = []
        for text in texts:
            started = time.process_time()
            catalogue.search(text, LIMIT)
            times.append(1e3 * (time.process_time() - started))
        quantiles = np.percentile(times, [50, 95, 99])
        found[f"query, {name}, ms"] = {"median": quantiles[0], "p95": quantiles[1], "p99": quantiles[2]}
    numbers = np.random.default_rng(0).integers(0, len(catalogue), 2000)
    started = time.process_time()
    asins = [catalogue.product(int(number)).asin for number in numbers]
    found["product by number, ms"] = 1e3 * (time.process_time() - started) / len(numbers)
    started = time.process_time()
    found["found again"] = [catalogue.index_of(asin) for asin in asins] == numbers.tolist()
    found["product by identifier, ms"] = 1e3 * (time.process_time() - started) / len(numbers)
    found["memory after that, no file behind it, MiB"] = anonymous_mib() - before
    return found


def measure_verify(folder: Path) -> dict[str, float]:
    """Return the seconds that comparing every digest takes."""
    started = time.perf_counter()
    MappedCatalogue(folder / INDEX).verify()
    return {"verify every digest, s": time.perf_counter() - started}


def measure_environment(folder: Path) -> dict[str, float]:
    """Make an environment on the index and play its goals at random; return seconds and steps a second."""
    started = time.perf_counter()
    env = gym.make("WebShop-v0", data=str(folder / INDEX))
    _, info = env.reset(seed=0)
    made = time.perf_counter() - started
    rng, steps, spent = np.random.default_rng(0), 0, 0.0
    for episode in range(100):
        _, info = env.reset(seed=episode)
        action, over = f"search[{info['goal']}]", False
        while not over:
            started = time.process_time()
            _, _, terminated, truncated, info = env.step(action)
            spent, steps, over = spent + time.process_time() - started, steps + 1, terminated or truncated
            action = info["admissible"][int(rng.integers(len(info["admissible"])))] if info["admissible"] else ""
    return {"make and first reset, s": made, "steps a second, random clicks": steps / spent}


def play(place: str, count: int, ready: Any, results: Any) -> None:
    """Search as a worker process would, wait until all workers have, and say how much memory it takes."""
    shop, catalogue = Shop(seed=2, words=20_000), MappedCatalogue(place)  # few words: their memory is not the index's
    for _ in range(count):
        for number in catalogue.search(shop.instruction(), LIMIT):
            catalogue.product(number)
    ready.wait()
    results.put(shares())
    ready.wait()


def shares() -> dict[str, float]:
    """Return this process's memory in MiB: all it maps, its share of pages that others map too, what no file backs."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    found = {name.rstrip(":"): int(value) / 1024 for name, value, *_ in map(str.split, lines)}
    return {"RSS": found["Rss"], "PSS": found["Pss"], "no file behind it": found["Anonymous"]}


def measure_workers(folder: Path, count: int) -> dict[str, Any]:
    """Return the memory of each of two processes that search the same index at the same time."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=play, args=(str(folder / INDEX), count, ready, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {"each of two workers, MiB": {name: sum(each[name] for each in found) / 2 for name in found[0]}}


# The whole ------------------------------------------------------------------------------------------------------------


MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "build": lambda folder, _: measure_build(folder),
    "queries": measure_queries,
    "verify": lambda folder, _: measure_verify(folder),
    "workers": measure_workers,
    "environment": lambda folder, _: measure_environment(folder),
}


def child(what: str, folder: Path, queries: int) -> dict[str, Any]:
    """Run one of the measurements in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder), "--queries", str(queries)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def sizes(folder: Path) -> dict[str, float]:
    """Return the sizes of the files in MB."""
    return {path.name: path.stat().st_size / 1e6 for path in sorted(folder.iterdir()) if path.is_file()}


def report(record: dict[str, Any]) -> None:
    """Print the record as a table."""
    table = Table("what", "value", title=f"Index of {record['products']:,} products")

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, each in value.items():
                add(f"{name}: {inner}", each)
        else:
            table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else str(value))

    for name in ("MB", "build", "reading", "workers", "environment"):
        add(name, record[name])
    Console().print(table)


def main() -> None:
    """Measure a build and what reads it."""
    parser = argparse.ArgumentParser(description="Measure the index of a large WebShop catalogue.")
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if not given")
    parser.add_argument("--measure", choices=tuple(MEASURES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(MEASURES[arguments.measure](arguments.folder, arguments.queries)))
        return
    base = arguments.folder or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    need, free = arguments.products * BYTES_A_PRODUCT, shutil.disk_usage(base).free
    if free < 2 * need:
        raise SystemExit(f"{base} has {free / 1e9:.0f} GB free, and this needs {need / 1e9:.1f}, twice over to be safe")
    folder = Path(tempfile.mkdtemp(prefix="webshop-", dir=base))
    try:
        write_raw(folder, arguments.products)
        record: dict[str, Any] = {"products": arguments.products, "raw files, MB": sizes(folder)}
        record["build"] = child("build", folder, arguments.queries)
        files = sizes(folder / INDEX)
        record["MB"] = {"raw files": sum(record["raw files, MB"].values()), "index": sum(files.values())}
        record["index files, MB"] = files
        manifest = json.loads((folder / INDEX / "manifest.json").read_text(encoding="utf-8"))
        record["holds"] = {name: manifest[name] for name in ("terms", "postings", "tokens")}
        record["reading"] = child("queries", folder, arguments.queries) | child("verify", folder, 0)
        record["workers"] = child("workers", folder, arguments.queries)
        record["environment"] = child("environment", folder, 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record["queries"] = arguments.queries
    record["machine"] = {"cores": os.cpu_count(), "load average": round(os.getloadavg()[0], 1)}
    record["versions"] = {"python": platform.python_version(), **{n: version(n) for n in ("numpy", "gymnasium")}}
    report(record)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
