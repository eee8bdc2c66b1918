"""`foreact init` on disk: the network it makes is Wan's, it fits in little memory, and what is wrong is said first."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from foreact.commands.init import initialize_from
from foreact.errors import CheckpointError, ConfigurationError
from foreact.shards import ShardWriter, TensorFolder, load_strictly
from foreact.transformer.derivation import plan_derivation
from foreact.transformer.model import WorldActionModel

WIDE = {"video_width": 48, "video_ffn_dim": 64}


@pytest.fixture(scope="module")
def pristine(tiny, oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    oracle.random(tiny.sizes(**WIDE)).save_pretrained(folder / "transformer", max_shard_size="100KB")
    return folder


@pytest.fixture
def source(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "wan"))


def read_back(folder: Path, config) -> WorldActionModel:
    with torch.device("meta"):
        model = WorldActionModel(config)
    load_strictly(model, TensorFolder.open(folder, stem="model").items(), what="the new network")
    return model.eval()


def test_the_video_stream_is_diffusers_own(tiny, oracle, source: Path, tmp_path: Path) -> None:
    config = tiny.sizes(**WIDE)
    count = initialize_from(config, source, tmp_path / "out", dtype=torch.float32, max_shard_bytes=100_000, seed=1)
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    model = read_back(tmp_path / "out", config)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    oracle.assert_same_velocity(model, oracle.random(config), [0.0, 0.31, 1.0])


def test_files_hold_what_was_planned(tiny, source: Path, tmp_path: Path) -> None:
    """The folder of the weights themselves will do, and a type of weights rounds them."""
    config, folder = tiny.sizes(**WIDE), source / "transformer"
    initialize_from(config, folder, tmp_path / "out", dtype=torch.bfloat16, seed=3)
    stored = dict(TensorFolder.open(tmp_path / "out", stem="model").items())
    planned = dict(plan_derivation(TensorFolder.open(folder), config).tensors(seed=3))
    assert stored.keys() == planned.keys()
    assert all(torch.equal(value, planned[name].to(torch.bfloat16)) for name, value in stored.items())


def break_shard(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def truncate_shard(folder: Path) -> None:
    shard = next(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])


def hide_tensor(folder: Path) -> None:
    path = folder / "diffusion_pytorch_model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["blocks.1.norm2.bias"]
    path.write_text(json.dumps(index))


def pickle_weights(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save({}, folder / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (break_shard, "fetch what is missing"),
        (truncate_shard, "truncated"),
        (hide_tensor, r"does not list blocks\.1\.norm2\.bias"),
        (pickle_weights, "pickles, refused"),
        (shutil.rmtree, r"diffusion_pytorch_model\.safetensors"),
    ],
)
def test_a_damaged_source_is_refused(tiny, source: Path, tmp_path: Path, spoil, said: str) -> None:
    spoil(source / "transformer")
    with pytest.raises(CheckpointError, match=said):
        initialize_from(tiny.sizes(**WIDE), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_of_another_size_is_refused(tiny, source: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got: video_width 48, video_ffn_dim 64"):
        initialize_from(tiny.sizes(), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_small_a_disk_is_said_before_it_is_full(
    tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        ConfigurationError, match=r"disk space for .*got: 0\.0001 GB free; allowed: 0\.000177 GB or more"
    ):
        initialize_from(tiny.sizes(**WIDE), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_will_be_written_is_said(tiny, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    initialize_from(tiny.sizes(**WIDE), source, tmp_path / "out", dtype=torch.float32)
    size = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    said = float(capsys.readouterr().out.split("Writing ")[1].split(" GB")[0])
    assert said == pytest.approx(size / 1e9, rel=0.15)


def test_weights_are_real_numbers(tiny, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"torch\.int8"):
        initialize_from(tiny.sizes(**WIDE), source, tmp_path / "out", dtype=torch.int8)


PEAK = """
import sys
from pathlib import Path
import torch
from foreact.commands.init import initialize_from
from foreact.transformer.model import TransformerConfig

def peak():
    # Not ru_maxrss: it begins with what the parent held when it forked.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

config = TransformerConfig(num_layers=12, num_heads=4, video_width=512, video_ffn_dim=2048, action_width=128,
                           action_ffn_dim=256, text_dim=64)
torch.rand(512, 512) @ torch.rand(512, 512)
before = peak()
initialize_from(config, Path(sys.argv[1]), Path(sys.argv[2]), dtype=torch.float32, max_shard_bytes=25_000_000)
print("grew by", peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_memory_is_of_a_shard_and_not_of_the_network(tmp_path: Path) -> None:
    sizes = {"num_layers": 12, "num_attention_heads": 4, "attention_head_dim": 128, "ffn_dim": 2048, "text_dim": 64}
    with torch.device("meta"):
        wan = WanTransformer3DModel(in_channels=48, out_channels=48, cross_attn_norm=True, **sizes)
    with ShardWriter(tmp_path / "wan", "diffusion_pytorch_model", 25_000_000) as writer:
        for name, value in wan.state_dict().items():
            writer.add(name, torch.full(value.shape, 0.01))
    wan.save_config(tmp_path / "wan")
    source = TensorFolder.open(tmp_path / "wan")
    assert source.num_bytes > 200e6
    command = [sys.executable, "-c", PEAK, str(tmp_path / "wan"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = int(done.stdout.split("grew by")[1])
    assert source.largest_shard_bytes < grown < 0.4 * source.num_bytes
