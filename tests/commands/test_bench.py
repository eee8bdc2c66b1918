import json

import pytest

from foreact.commands import bench as command
from foreact.commands.main import main
from foreact.errors import ConfigurationError


def bench(*arguments: str) -> None:
    main(["bench", "--repeats", "1", "--threads", "1", "--window", "4", *arguments])


def test_figures_and_a_picture(tmp_path, capsys) -> None:
    bench("--history", "0", "1", "--sessions", "1", "2", "--out", str(tmp_path / "b"), "--json")
    stored = json.loads(capsys.readouterr().out)
    assert stored == json.loads((tmp_path / "b/bench.json").read_text()) | {"peak_bytes": stored["peak_bytes"]}
    rows = [(row["setting"]["history"], row["setting"]["sessions"]) for row in stored["timings"]]
    assert rows == [(0, 1), (4, 1), (4, 2)]
    assert set(stored["timings"][0]["floor_ms"]) == {"encode", "append", "imagine", "decode_actions"}
    assert stored["timings"][2]["floor_ms"] == {}
    assert (tmp_path / "b/bench.png").read_bytes()[:4] == b"\x89PNG"


def test_a_table_for_people(capsys) -> None:
    bench("--history", "1", "--sessions", "1", "--layers", "1")
    stored = capsys.readouterr().out
    assert "TFLOP/s" in stored and "chunks/s" in stored and "Peak memory" in stored


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--history", "1.5"), "shares of the window"),
        (("--policy", "src/foreact/checkpoints/tiny", "--layers", "2"), "only with --preset"),
        (("--preset", "huge"), "unknown recipe"),
        (("--layers", "0"), "num_layers; got: 0"),
        (("--preset", "wan5b", "--layers", "9000"), "memory for wan5b on cpu"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench(*arguments)
    assert stopped.value.code == 2
    assert complaint in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_policy_is_loaded_where_it_is_to_be_timed(device: str, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("foreact.commands.progress.available_devices", lambda: ("cpu", "meta"))

    def load(folder, *, placement):
        asked.append(placement.device)
        raise ConfigurationError("enough for this test")

    monkeypatch.setattr(command, "load_policy", load)
    with pytest.raises(SystemExit):
        bench("--policy", "src/foreact/checkpoints/tiny", "--device", device)
    assert asked == [device]
