"""Options read from texts and checked in Python: one message for whatever does not fit."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from avr.core import (
    NonNegativeInt,
    OneOf,
    PositiveFloat,
    PositiveInt,
    Range,
    Share,
    UsageError,
    check_fields,
    options_of,
    read_options,
    read_value,
)

TABLE = {"corners": 1, "centre": 2}


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("yes", bool, True),
        ("False", bool, False),
        ("a<-m", typing.Literal["both", "a<-m"], "a<-m"),
        ("2", typing.Literal[1, 2], 2),
        ("rgb,", tuple[str, ...], ("rgb",)),
        ("2,3,4", tuple[int, ...], (2, 3, 4)),
        ([2, 3], tuple[int, ...], (2, 3)),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("none", str | None, None),
        (3.0, int, 3),
        (3, float, 3.0),
        ("0.5", float | Literal["auto"], 0.5),
        ("auto", float | Literal["auto"], "auto"),
        ("1,1.5", Sequence[float] | None, [1.0, 1.5]),
        ("[1, 1.5]", Sequence[float] | None, [1.0, 1.5]),
        (["a", "b"], str | Sequence[str], ["a", "b"]),
        ("videos", Path | None, Path("videos")),
        ("centre", Annotated[str, OneOf(TABLE)], "centre"),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ("rgb=1, x/flow=1.5", Mapping[str, float] | Sequence[float] | None, {"rgb": 1.0, "x/flow": 1.5}),
        ("1,1.5", Mapping[str, float] | Sequence[float] | None, [1.0, 1.5]),
    ],
)
def test_texts_become_the_type_an_option_has(text, hint, value):
    read = read_value("option", text, hint)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "message"),
    [
        ("3.5", int, "option=3.5 is not possible; option takes int"),
        (3.5, int, "takes int"),
        ("maybe", bool, "takes true|false"),
        ("c", typing.Literal["a", "b"], "takes a|b"),
        ("2,x", tuple[int, ...], "takes int,…"),
        (True, int, "option=true is not possible; option takes int"),
        ("nan", float, "option takes float, finite"),
        ("2", Share, "option takes 0 ≤ float < 1"),
        ("0", PositiveFloat, "option takes float > 0"),
        ("2,0", tuple[PositiveInt, ...], "option=2,0 is not possible; option takes int ≥ 1,…"),
        ("2", Annotated[float, Range(above=0, most=1)] | Literal["auto"], "takes 0 < float ≤ 1 or auto"),
        ("x", NonNegativeInt | None, "takes none or int ≥ 0"),
        ("wild", Annotated[str, OneOf(TABLE)], "takes corners|centre"),
        (3, str, "takes text"),
        ("rgb=x", Mapping[str, float], "option=rgb=x is not possible; option takes NAME=float,…"),
        ("rgb=1,2", Mapping[str, float] | Sequence[float], "takes NAME=float,… or float,…"),
        ({"rgb": "much"}, Mapping[str, float], "option=rgb=much is not possible"),
        ([("rgb", 1)], Mapping[str, float], "takes NAME=float,…"),
    ],
)
def test_other_texts_are_refused(text, hint, message):
    with pytest.raises(UsageError) as refused:
        read_value("option", text, hint)
    assert message in str(refused.value)


@dataclass
class Settings:
    rate: PositiveFloat = 0.1
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()


def function(first: int, *, count: PositiveInt = 3, kind: Literal["a", "b"] = "a", flag: bool = False) -> None:
    """Of any use to the tests alone."""


class Made:
    def __init__(self, shapes: dict, *, count: PositiveInt = 3) -> None:
        """Take options."""


def test_options_are_keyword_parameters_or_fields():
    assert [option.describe() for option in options_of(function).values()] == [
        "count=int ≥ 1 (3)",
        "kind=a|b (a)",
        "flag=true|false (false)",
    ]
    assert list(options_of(Made)) == ["count"]
    assert list(options_of(Settings)) == ["rate", "kind", "names"]
    assert options_of(function)["kind"].choices == ("a", "b")
    assert options_of(function)["count"].choices == ()


def test_options_are_read_by_name():
    assert read_options(options_of(function), {"count": "4", "flag": "yes"}, kind="option") == {
        "count": 4,
        "flag": True,
    }
    with pytest.raises(UsageError) as refused:
        read_options(options_of(function), {"cuont": "4"}, kind="option of this")
    assert str(refused.value).startswith(
        "unknown option of this 'cuont' (did you mean count?); known: count=int ≥ 1 (3)"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": float("nan")}, "file: rate=nan is not possible; rate takes float > 0, finite"),
        ({"rate": "0.1"}, "rate=0.1 is not possible"),  # a text where no command line gave it
        ({"kind": "c"}, "kind takes a|b"),
        ({"names": ("a", 3)}, "names=a,3 is not possible; names takes text,…"),
    ],
)
def test_a_record_is_refused_with_the_field_at_fault(values, message):
    check_fields(Settings(rate=1, kind="b", names=("x",)))
    with pytest.raises(UsageError) as refused:
        check_fields(Settings(**values), where="file: ")
    assert message in str(refused.value)
