"""The model card: the hub can read it, and it says what the policy really is."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from foreact.policy.policy import Policy
from foreact.policy.storage.card import model_card


def card(policy: Policy, **provenance) -> ModelCard:
    return ModelCard(model_card(policy, provenance))


def test_the_hub_reads_its_metadata(tiny) -> None:
    data = card(tiny.policy()).data
    assert (data.library_name, data.pipeline_tag) == ("foreact", "robotics")
    assert data.license is None, "whoever trained the weights chooses"
    assert {"robotics", "foreact"} <= set(data.tags)
    assert data.eval_results is None


def test_it_is_saved_with_the_policy(tiny, tmp_path: Path) -> None:
    policy = tiny.policy()
    policy.save_pretrained(tmp_path, provenance={"recipe": "toy"})
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.text == card(policy, recipe="toy").text
    assert loaded.data.library_name == "foreact"


def test_it_says_what_goes_in_and_out(tiny) -> None:
    text = card(tiny.policy()).text
    for said in (
        "`top` 16x8, `wrist` 16x8",
        "25 Hz",
        "50 Hz, 8 a chunk",
        "`shoulder` (rad), `elbow` (rad)",
        "8 numbers",
    ):
        assert said in text, said
    assert "Two joints and a gripper." in text


def test_it_counts_parameters(tiny) -> None:
    policy = tiny.policy()
    model, vae = policy.networks.model, policy.networks.vae
    text = card(policy).text
    for name, part in (("network", model), ("of it for actions alone", model.action), ("video VAE", vae)):
        assert f"| {name} | {sum(p.numel() for p in part.parameters()):,} parameters |" in text
    assert "Mixture-of-Transformers" in text


def test_it_tells_a_shared_backbone(published) -> None:
    text = card(published.load()).text
    assert "shared backbone" in text and "Mixture-of-Transformers" not in text
    assert "`observation.images.cam0` 64x64" in text and "`action 6`" in text


def test_it_says_how_the_policy_is_run(tiny) -> None:
    text = card(tiny.policy(s_stop=0.75, video_guidance=2.0, window=6)).text
    assert "2 video steps to s = 0.75, guidance 2; 2 action steps; 2 latent frames a chunk, 6 latent frames of" in text


def test_a_reactive_policy_imagines_nothing(tiny) -> None:
    text = card(tiny.policy(imagines=False)).text
    assert "imagines" not in text and "video steps" not in text
    assert "decodes actions from what the robot's cameras saw" in text


def test_it_claims_no_success_that_was_not_measured(tiny) -> None:
    without = card(tiny.policy(), recipe="toy", steps=3, nested={"success_rate": 0.97}).text
    assert "No success rate was recorded" in without and "0.97" not in without and "%" not in without
    assert "| recipe | toy |" in without and "| steps | 3 |" in without
    measured = card(tiny.policy(), results="41 of 50 (lift_cube)").text
    assert "Measured: 41 of 50 (lift_cube)" in measured and "No success rate" not in measured


@pytest.mark.usefixtures("one_thread")
def test_the_program_it_shows_runs(tiny, tmp_path: Path) -> None:
    tiny.policy().save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    program = text.split("```python\n")[1].split("```")[0]
    program = program.replace("this folder or repository", str(tmp_path)).replace('"top": ...', '"top": images["top"]')
    known = {"images": tiny.images(1), "state": tiny.actions(1)[0]}
    exec(program.replace('"wrist": ...', '"wrist": images["wrist"]'), known)
    assert known["chunk"].actions.shape == (8, 3)
