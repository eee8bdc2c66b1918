"""The `foreact` command: how quickly it answers, how it finds a command, and how it ends."""

import ast
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from foreact import __version__
from foreact.commands import main as module
from foreact.commands.main import main
from foreact.commands.table import COMMANDS
from foreact.errors import install_command

FOLDER = Path(module.__file__).parent


def foreact(*words: str, **settings) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "foreact", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["evalute"], []])
def test_answers_that_need_no_command_import_next_to_nothing(words: list[str]) -> None:
    code = (
        "import sys\nfrom foreact.commands.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert not imported & {"torch", "numpy", "tyro", "rich", "matplotlib"}


def test_help_lists_every_command_with_what_it_does(capsys) -> None:
    main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, command in COMMANDS.items():
        assert f"{name} {command.summary}" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    settings = importlib.import_module(f"foreact.commands.{COMMANDS[name].module}").Settings
    assert inspect.getdoc(settings).splitlines()[0] == COMMANDS[name].summary
    assert settings.__dataclass_params__.frozen and all(field.kw_only for field in fields(settings))


def test_every_file_of_commands_is_short() -> None:
    assert {path.name: n for path in FOLDER.glob("*.py") if (n := len(path.read_text().splitlines())) >= 150} == {}


def test_no_command_types_names_of_a_registry_into_its_help() -> None:
    """Names of tasks, recipes and studies come from their registries; a default is a name, an example has several."""
    for command in COMMANDS.values():
        tree = ast.parse((FOLDER / f"{command.module}.py").read_text())
        (settings,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings"]
        helps = [node.value.value for node in settings.body[1:] if isinstance(node, ast.Expr)]
        for text in helps:
            assert not any(name in text for name in ("_cube", "tiny", "wan5b", "turbo", "ablations")), text


def test_a_mistyped_command_is_refused_and_the_nearest_named(capsys) -> None:
    said = refused(capsys, "evalute", "--task", "lift_cube")
    assert "unknown command; got: 'evalute'" in said and "did you mean 'evaluate'?" in said


def test_the_version_is_the_packages_own() -> None:
    project = tomllib.loads((FOLDER.parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "foreact.__version__"}
    assert foreact("--version").stdout == f"foreact {__version__}\n"


@pytest.mark.parametrize(("package", "extra"), [("mujoco", "sim"), ("prometheus_client", "serve"), ("av", "policy")])
def test_a_package_that_is_missing_is_named(capsys, monkeypatch, package: str, extra: str) -> None:
    def missing(_):
        raise ModuleNotFoundError("no", name=package)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    assert f"{package} is not installed; {install_command(extra)}" in refused(capsys, "demo")


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_not_a_package(monkeypatch) -> None:
    monkeypatch.setattr(
        module.importlib,
        "import_module",
        lambda _: (_ for _ in ()).throw(ModuleNotFoundError("no", name="foreact.commands.demo")),
    )
    with pytest.raises(ModuleNotFoundError):
        main(["demo"])


# Settings from a file


def test_what_print_config_writes_config_reads(tmp_path, capsys) -> None:
    words = ["train", "--recipe", "tiny-reactive", "--data", "a", "b", "--vae", "v", "--out", "o", "--seed", "5"]
    words += ["--optimization.num-steps", "7", "--optimization.warmup-steps", "1", "--device", "cuda"]
    main([*words, "--print-config"])
    written = capsys.readouterr().out
    (tmp_path / "train.json").write_text(written)
    main(["train", "--config", str(tmp_path / "train.json"), "--print-config"])
    assert capsys.readouterr().out == written
    config = json.loads(written)
    assert (config["command"], config["data"], config["machine"]["device"]) == ("train", ["a", "b"], "cuda")
    assert (config["training"]["seed"], config["training"]["optimization"]["num_steps"]) == (5, 7)
    assert config["training"]["batch"]["imagines"] is False


def test_flags_win_over_the_file(tmp_path, capsys) -> None:
    (tmp_path / "some.json").write_text('{"task": "lift_cube", "out": "o", "denoising": {"schedule": "turbo"}}')
    main(["evaluate", f"--config={tmp_path / 'some.json'}", "--task", "reach_cube", "--print-config"])
    config = json.loads(capsys.readouterr().out)
    assert (config["task"], config["denoising"]["schedule"], config["out"]) == ("reach_cube", "turbo", "o")


def test_a_file_may_leave_the_rest_to_flags_and_to_the_recipe(tmp_path, capsys) -> None:
    (tmp_path / "some.json").write_text('{"recipe": "tiny-reactive", "data": ["d"]}')
    main(["train", "--config", str(tmp_path / "some.json"), "--vae", "v", "--out", "o", "--print-config"])
    config = json.loads(capsys.readouterr().out)
    assert config["recipe"] == "tiny-reactive" and config["training"]["batch"]["imagines"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"tsak": "lift_cube"}', "unknown setting of foreact evaluate in"),
        ('{"episodes": "many"}', "episodes in"),
        ('{"denoising": {"video_step": 3}}', "did you mean 'video_steps'"),
        ('{"command": "demo"}', "settings of another command; allowed: those of evaluate"),
        ("{", "JSON"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, capsys, text: str, said: str) -> None:
    (tmp_path / "some.json").write_text(text)
    assert said in refused(capsys, "evaluate", "--config", tmp_path / "some.json")


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys) -> None:
    assert "no file" in refused(capsys, "evaluate", "--config", tmp_path / "none.json")
    assert "--config; got: nothing after it" in refused(capsys, "evaluate", "--config")


def test_another_recipe_beside_a_file_with_settings_of_one_is_refused(tmp_path, capsys) -> None:
    main(["train", "--data", "a", "--vae", "v", "--out", "o", "--print-config"])
    (tmp_path / "train.json").write_text(capsys.readouterr().out)
    said = refused(capsys, "train", "--recipe", "tiny-reactive", "--config", tmp_path / "train.json")
    assert "--recipe; got: tiny-reactive; allowed: the file's own, tiny" in said


# Ctrl-C


@pytest.mark.parametrize("delay_s", [0.15, 0.6, 1.5, 3.0])
def test_ctrl_c_ends_quietly_at_any_moment(tmp_path, delay_s: float) -> None:
    """During Python's start, imports, loading, and while the command runs."""
    words = ["bench", "--repeats", "100000", "--threads", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "foreact", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said


def test_ctrl_c_reaches_workers_that_are_starting_and_they_say_nothing(tmp_path) -> None:
    words = ["study", "quick", "--workers", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "foreact", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert "begun" in process.stdout.readline()
    time.sleep(0.5)  # the worker's process runs, and imports
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the command and its workers
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said and said.count("stopped.") == 1


def test_an_interrupt_in_a_command_says_how_to_go_on(monkeypatch, capsys) -> None:
    from foreact.commands import describe

    def interrupted(_) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(describe, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stopped:
        main(["describe", "tiny"])
    assert stopped.value.code == 130 and "repeat the command to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


# Shell completion


def complete(script: Path, *words: str) -> list[str]:
    """Return what bash offers after these words; the last may be empty."""
    array = " ".join(f"'{word}'" for word in words)
    code = (
        f'source {script}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; COMP_LINE="${{COMP_WORDS[*]}}"; '
        "COMP_POINT=${#COMP_LINE}; $(complete -p foreact | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_flags_and_names(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "bash"])
    assert ended.value.code is None
    (tmp_path / "foreact").write_text(capsys.readouterr().out)
    assert complete(tmp_path / "foreact", "foreact", "eval") == ["evaluate"]
    assert set(complete(tmp_path / "foreact", "foreact", "")) >= set(COMMANDS)
    assert "--video-steps" in complete(tmp_path / "foreact", "foreact", "evaluate", "--video")
    assert complete(tmp_path / "foreact", "foreact", "collect", "--task", "tran") == ["transfer_cube"]
    assert "tiny-reactive" in complete(tmp_path / "foreact", "foreact", "train", "--recipe", "")
