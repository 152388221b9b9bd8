"""Nothing in a report tells whose machine it is."""

from __future__ import annotations

import os

import pytest
from supertile.diagnostics.privacy import public, public_path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    monkeypatch.setenv("LOGNAME", "anna")
    return tmp_path / "anna"


def test_the_home_folder_is_a_tilde(home):
    assert public(f"cannot write {home}/.cache/supertile: full") == "cannot write ~/.cache/supertile: full"
    assert public(f"in {home}") == "in ~"
    assert public(f"{home}bel") == f"{home}bel"  # another name that begins with it
    assert public_path(f"{home}/ComfyUI/models") == "~/ComfyUI/models"


@pytest.mark.parametrize("text", ["/home/{}/a", "/Users/{}/a", "C:\\Users\\{}\\a", "in '/home/{}'"])
def test_homes_of_others_are_too(text):
    shown = public(text.format("bob"))
    assert "bob" not in shown
    assert "~" in shown


def test_a_users_name_is_taken_out_of_paths_and_left_in_words():
    assert public("/data/anna/models") == "/data/<user>/models"
    assert public("anna is no path") == "anna is no path"


def test_other_folders_are_shown_by_their_end():
    assert public_path("/disk of a company/all/models/upscale") == os.path.join("...", "models", "upscale")
    assert public_path("/tmp") == "/tmp"
    assert public_path("") == ""


def test_texts_are_found_wherever_they_are(home):
    given = {f"{home}/a": [f"{home}/b", 3, None, (True, f"{home}/c")]}
    assert public(given) == {"~/a": ["~/b", 3, None, [True, "~/c"]]}
