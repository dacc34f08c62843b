"""Every command and every program in the README and the documentation runs, with its budget cut.

Commands of one page run in order, in one empty folder; what stands on several pages runs once. A command that no rule
here covers fails the test, so none can be written that nobody runs. What installs packages is run for real by
``.ci/run``; here it is checked against ``pyproject.toml``.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from agentgym import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORT = "--set env_options.max_episode_steps=20"
WARM = "--set warm_start.steps=1 --set warm_start.demonstrations=4"
CUTS = {
    "train": f"--iterations 1 --minibatches 1 --groups 2 --group-size 2 --eval-episodes 2 {WARM} {SHORT}",
    "sft": "--steps 1 --demonstrations 4",
    "eval": f"--episodes 1 {SHORT}",
    "rollout": "--groups 1 --group-size 2",
    "play": "",
    "envs": "",
    "algos": "",
    "credit": "",
    "compare": "--methods grpo --seeds 1 --max-generated-tokens 1 --minibatches 1 --groups 2 --group-size 2 "
    f"--eval-episodes 2 {WARM} {SHORT}",
    "creditbench": "--algos grpo,gigpo --worlds Chain-v0 --batches 3 --horizons 5 --skills 0.5",
}
CODE_CUTS = {
    'env="ALFWorld-v0",': 'env="ALFWorld-v0", env_kwargs={"max_episode_steps": 20},',
    "TrainConfig(iterations=60)": "TrainConfig(iterations=1, groups=1, group_size=2, eval_episodes=1, "
    "warm_start={'steps': 1, 'demonstrations': 4})",
}


class Block(NamedTuple):
    """A fenced block: where it stands, its language, the file it shows, its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    found = []
    fence = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in fence.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2] or "", match[3]))
    return found


def same_as(line: str) -> str:
    """Return what two commands share if running one is enough: ``make train`` gets arguments of the test anyway."""
    words = shlex.split(line, comments=True)
    return "make train" if words[:2] == ["make", "train"] else shlex.join(words)


def commands() -> list[object]:
    """Return the commands of each page, without those that an earlier page has."""
    seen: set[str] = set()
    found = []
    for page in PAGES:
        text = "".join(block.text for block in blocks() if block.page == page and block.language == "bash")
        lines = [line for line in text.splitlines() if line.strip() and same_as(line) not in seen]
        seen.update(map(same_as, lines))
        if lines:
            found.append(pytest.param(page, lines, id=str(page.relative_to(ROOT))))
    return found


def programs() -> list[object]:
    found = {block.text: block for block in reversed(blocks()) if block.language == "python"}
    return [pytest.param(block, id=f"{block.page.relative_to(ROOT)}:{block.line}") for block in found.values()]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to work in, as a user without data would."""
    for variable in ("AGENTGYM_DATA", "ALFWORLD_DATA", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # commands start from the checkout
    return tmp_path


def run_make(target: str, arguments: str) -> str:
    """Run a make target with the environment of this test, which holds everything already."""
    stamps = [f"{sys.prefix}/.installed-{name}" for name in ("train", "dev")]
    old = [option for stamp in stamps for option in ("-o", stamp)]
    command = ["make", target, f"VENV={sys.prefix}", f"ARGS={arguments}", *old]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "pip install" not in run.stdout
    return run.stdout


def run_cli(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["agentgym", *arguments, *shlex.split(CUTS[arguments[0]])])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, arguments


def check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words[2:]:
        if extras := re.fullmatch(r"(?:\.|agentgym-sdk)\[([\w,]+)\]", word):
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
        else:
            assert word in ("-e", "-c", "constraints.txt"), f"no rule for {word!r}"


def check_ci(command: str) -> None:
    assert re.search(rf"^{re.escape(command)}$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)


def run_command(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line, comments=True)
    match words:
        case ["make", "train", *more]:
            given = more[0].removeprefix("ARGS=") if more else ""
            shown = run_make("train", f"{given} {CUTS['train']} --output {folder / 'run'}")
            assert "success before" in shown
        case ["make", "test", *_]:
            assert "2 passed" in run_make("test", "tests/test_packaging.py -k links")
        case ["make", "check" | "docs"]:
            check_ci(shlex.join(words))
        case ["agentgym", *arguments]:
            run_cli(arguments, monkeypatch)
        case ["torchrun", *arguments]:
            command = [sys.executable, "-m", "torch.distributed.run", *arguments, *shlex.split(CUTS["train"])]
            subprocess.run(command, check=True, timeout=300)
        case ["pip", "install", *_]:
            check_pip(words)
        case _:
            pytest.fail(f"no rule for the command {line!r}")


@pytest.mark.parametrize(("page", "lines"), commands())
def test_commands_run(page: Path, lines: list[str], user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks():  # files that the page shows, such as a configuration
        if block.page == page and block.title and block.language in ("yaml", "toml"):
            (user / block.title).write_text(block.text, encoding="utf-8")
    for line in lines:
        run_command(line, user, monkeypatch)


@pytest.mark.parametrize("block", programs())
def test_programs_run(block: Block, user: Path) -> None:
    code = block.text
    if code.startswith("--8<--"):
        assert (ROOT / shlex.split(code)[1]).parent.name == "examples"  # run by tests/test_examples.py
        return
    if "Trainer(" in code:
        for whole, cut in CODE_CUTS.items():
            assert code.count(whole) == 1
            code = code.replace(whole, cut)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_shows_the_whole_tree() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("```text")[1]
    for path in [*(ROOT / "agentgym").iterdir()]:
        if path.name not in ("__init__.py", "__main__.py", "py.typed", "algos", "wrappers", "__pycache__"):
            assert path.name in tree, f"the README's tree lacks {path.name}"


def test_python_use_is_under_ten_lines() -> None:
    [block] = [b for b in blocks() if b.page.name == "README.md" and "Trainer(" in b.text]
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 10
