"""The entry point of the command, and Ctrl-C during its imports."""

import sys
from types import ModuleType

import pytest

from diabetes_platform.__main__ import main
from diabetes_platform.cli import INTERRUPTED


class InterruptedModule(ModuleType):
    """A module that is interrupted during its import."""

    @property
    def app(self) -> object:
        raise KeyboardInterrupt


def test_ctrl_c_during_imports_prints_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        sys.modules, "diabetes_platform.cli", InterruptedModule("diabetes_platform.cli")
    )
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


def test_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["diabetes", "--help"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    assert "rollback-model" in capsys.readouterr().out
