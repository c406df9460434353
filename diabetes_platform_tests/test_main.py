"""The command's own entry: interrupted before there is anything to clean up."""

import sys
from types import ModuleType

import pytest

from diabetes_platform.__main__ import main
from diabetes_platform.cli import INTERRUPTED


class Slow(ModuleType):
    """A command line that is still being read when Ctrl-C comes."""

    @property
    def app(self) -> object:
        raise KeyboardInterrupt


def test_ctrl_c_while_the_command_is_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "diabetes_platform.cli", Slow("diabetes_platform.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


def test_it_is_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["diabetes", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "rollback-model" in capsys.readouterr().out
