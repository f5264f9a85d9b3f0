"""Who goes before whom."""

import os
import sys

import pytest

from quietmic.devices.priority import audio_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real-time scheduling as Linux has it")


@pytest.mark.parametrize(("cores", "n_raised"), [({0}, 0), ({0, 1}, 1)])
def test_nobody_goes_before_the_sound_server_on_one_core(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], n_raised: int
) -> None:
    policies: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores)
    monkeypatch.setattr(os, "sched_setscheduler", lambda process, policy, parameter: policies.append(policy))
    with audio_priority():
        pass
    assert policies.count(os.SCHED_RR) == n_raised
