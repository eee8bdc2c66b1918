import io

import pytest
import torch
from rich.console import Console

from foreact.commands.parsing import expand_home
from foreact.commands.progress import ProgressLines, available_devices, bold, plain, progress_bar, use_device
from foreact.errors import ConfigurationError


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    text = io.StringIO()
    with ProgressLines(Console(file=text), every_s=3600.0) as bar:
        task = bar.add_task("training", total=400, figures="")
        for step in range(1, 401):
            bar.update(task, completed=step, figures=f"loss {1 / step:.3f}")
    assert text.getvalue().splitlines() == ["training: 1 of 400  loss 1.000", "training: 400 of 400  loss 0.003"]


@pytest.mark.parametrize("name", ["[red]arm", "[/]", "[/bold]", "run[1]", "[link=file:///x]y[/link]", "\\[b]"])
def test_names_that_look_like_markup_are_printed_as_they_are(name: str) -> None:
    text = io.StringIO()
    shown = Console(file=text, width=200)
    shown.print(f"{plain(name)} | {bold(name)} | end")
    assert text.getvalue() == f"{name} | {name} | end\n"


def test_lines_take_what_bars_take() -> None:
    text = io.StringIO()
    with ProgressLines(Console(file=text), every_s=0.0) as bar:
        task = bar.add_task("a", total=None, figures="")
        bar.update(task, advance=2)
        bar.update(task, description="b", figures="[odd]")
    assert text.getvalue().splitlines() == ["a: 2", "b: 2  [odd]"]


def test_a_terminal_has_a_bar() -> None:
    assert not isinstance(progress_bar(Console(file=io.StringIO(), force_terminal=True)), ProgressLines)
    assert isinstance(progress_bar(Console(file=io.StringIO())), ProgressLines)
    assert not isinstance(progress_bar(Console(file=io.StringIO()), lines=False), ProgressLines)


@pytest.mark.parametrize("device", ["mps", "xpu", "cuda:7", "meta", "gpu", "cpu:3x"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(device: str) -> None:
    if device in available_devices():
        pytest.skip("this machine has it")
    with pytest.raises(ConfigurationError, match=f"device; got: {device}; allowed: cpu"):
        use_device(device, None)


def test_a_device_that_is_there_is_taken() -> None:
    assert use_device("cpu", None) == torch.device("cpu")


@pytest.mark.parametrize("word", ["~/x", "--out=~/x", "top=~/x", "--image=top=b", "a~b", "x/y=~/z", "--out=a~/b", "~"])
def test_a_tilde_is_the_home_folder_also_after_an_equals_sign(word: str, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    expected = {"~/x": "/home/me/x", "--out=~/x": "--out=/home/me/x", "top=~/x": "top=/home/me/x", "~": "/home/me"}
    assert expand_home(word) == expected.get(word, word)
