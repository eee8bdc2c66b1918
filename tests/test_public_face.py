"""`import foreact` is enough, and costs nothing until a name is used."""

import subprocess
import sys

import pytest

import foreact


def test_every_public_name_is_found_and_listed() -> None:
    for name in foreact.__all__:
        assert getattr(foreact, name).__name__ == name
    assert set(foreact.__all__) <= set(dir(foreact))


def test_the_package_alone_imports_neither_torch_nor_numpy() -> None:
    code = "import foreact, sys; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_robots_names_need_no_torch() -> None:
    code = "import foreact as f, sys; f.Client, f.Observation, f.ActionChunk; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_name_that_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'lode'"):
        foreact.lode  # noqa: B018


def test_policies_and_sessions_introduce_themselves_in_a_line(tiny) -> None:
    policy = tiny.policy()
    session = policy.start("push it")
    assert repr(session) == "Session('push it', 0 latent frames seen, no chunk predicted)"
    policy.observe_first(session, tiny.images(1), tiny.actions(1)[0])
    policy.predict(session)
    assert repr(session) == "Session('push it', 1 latent frame seen, a chunk predicted)"
    said = repr(policy)
    assert "\n" not in said and "robot='toy', cameras=['top', 'wrist']" in said
    assert "chunk=8 actions in 2 video steps, 2 action steps, device='cpu'" in said
