"""Names that become files: the same on every system."""

import pytest

from avr.core import UsageError, check_name, name_from


@pytest.mark.parametrize("text", ["a", "hmdb51", "Sub Set", "a.b-c+d_e", "été", "console", "x" * 200])
def test_a_name_is_taken(text):
    assert check_name("data set", text) == name_from(text)[:199] + text[199:] == text


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("", "_"),
        (".", "_"),
        ("..", "_"),
        ("../up", ".._up"),
        ("/root", "_root"),
        ("a\\b", "a_b"),
        ("C:x", "C_x"),
        ("end.", "end"),
        (" blank ", "blank"),
        ("con", "_con"),
        ("Aux.h5", "_Aux.h5"),
        ("a\nb", "a_b"),
        ("x" * 201, "x" * 199),
    ],
)
def test_what_is_no_name_has_one_near_it(text, nearest):
    with pytest.raises(UsageError, match="is no name"):
        check_name("data set", text)
    assert name_from(text) == nearest
    check_name("data set", nearest)
