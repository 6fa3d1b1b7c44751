"""Hydra sweeps as distributions, and their values as overrides."""

import math
import warnings
from itertools import combinations
from typing import ClassVar

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.errors import HydraException
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chirplet.sweep.plan.space import as_override, checked_points, distribution, split_overrides
from chirplet.sweep.plan.study import grid
from chirplet.system.error import ConfigError

PARSER = OverridesParser.create()


def parsed(text):
    return PARSER.parse_override(text)


def searched(text):
    return distribution(parsed(f"key={text}"))


def split(*texts):
    return split_overrides(PARSER.parse_overrides(list(texts)))


def run_through(text):
    """The values of a plain Hydra multirun."""
    return [parsed(f"key={value}").value() for value in parsed(f"key={text}").sweep_string_iterator()]


def given_to_trials(part):
    """The values of a discrete distribution, as trials get them."""
    return [parsed(as_override("key", value)).value() for value in grid({"key": part})["key"]]


def same(one, other):
    """Whether two values are equal and of the same type, recursively."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    return type(one) is type(other) and one == other


class TestCategories:
    @pytest.mark.parametrize("text", ["32,64,128", "choice(32,64,128)", "choice( 32 , 64,128 )", "sort(128,32,64)"])
    def test_numbers(self, text):
        assert searched(text) == CategoricalDistribution([32, 64, 128])

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("a,b", ["a", "b"]),
            ("choice(linear,cosine)", ["linear", "cosine"]),
            ("choice(0,1,all)", [0, 1, "all"]),
            ("choice(true,False)", [True, False]),
            ("0.5,1e-5", [0.5, 1e-5]),
            ("null,3", [None, 3]),
            ("'a b',c", ["'a b'", "c"]),
            ("choice([1,2],[])", ["[1,2]", "[]"]),
            ("choice({a:1,b:[x]},2)", ["{a:1,b:[x]}", 2]),
            ("choice(a)", ["a"]),
            ("int(choice(1.5,2.5))", [1, 2]),
        ],
    )
    def test_a_choice_of_anything(self, text, values):
        part = searched(text)
        assert isinstance(part, CategoricalDistribution)
        assert len(part.choices) == len(values) and all(map(same, part.choices, values))

    @pytest.mark.parametrize(
        "text",
        [
            "choice(3,a,1.5,true,'b c',[1,'d e'],{f:{g:null}},'2')",
            "null,1,x",
            '\'it\\\'s\',"say \\"so\\""',
            "a b , c",
            "choice(nan,inf,-inf,1e10,1e16,1e-7)",
            "'${seed}','a,b','a=b','','null','true'",
            "str(choice(1,2))",
            "float(choice(1,2))",
        ],
    )
    def test_values_equal_those_of_a_hydra_sweep(self, text):
        expected = run_through(text)
        values = given_to_trials(searched(text))
        assert len(values) == len(expected) and all(map(same, values, expected))

    @pytest.mark.parametrize("text", ["shuffle(choice(1,a,2,b))", "shuffle(1,a,2,b)"])
    def test_in_any_order_they_are_the_same(self, text):
        # If each command shuffled again, it would never be the same study.
        for _ in range(10):
            assert searched(text) == CategoricalDistribution([1, "a", 2, "b"])

    @pytest.mark.parametrize("text", ["1,true", "0,false,2", "1,1.0", "a,b,a", "null,null"])
    def test_values_that_optuna_cannot_distinguish_are_refused(self, text):
        # Optuna treats True as 1 and would never try it.
        with pytest.raises(ConfigError, match=f"key={text}: "):
            searched(text)


class TestRanges:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("range(5)", IntDistribution(0, 4)),
            ("range(1,4)", IntDistribution(1, 3)),
            ("range(1,10,2)", IntDistribution(1, 9, step=2)),
            ("range(1,11,3)", IntDistribution(1, 10, step=3)),
            ("range(10,0,-3)", IntDistribution(1, 10, step=3)),
            ("range(3,-3,-2)", IntDistribution(-1, 3, step=2)),
            ("range(7,8)", IntDistribution(7, 7)),
            ("shuffle(range(1,4))", IntDistribution(1, 3)),
            ("tag(log,range(1,65))", IntDistribution(1, 64, log=True)),
            ("range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
            ("range(1.5,0,-0.5)", FloatDistribution(0.5, 1.5, step=0.5)),
            ("float(range(1,4))", FloatDistribution(1.0, 3.0, step=1.0)),
        ],
    )
    def test_steps_by_hand(self, text, expected):
        assert searched(text) == expected

    @pytest.mark.parametrize("text", ["range(0,1,0.1)", "range(0,1,0.3)", "range(0.1,0.7,0.1)", "range(1,0,-0.3)"])
    def test_no_value_is_lost_to_rounding(self, text):
        assert given_to_trials(searched(text)) == pytest.approx(sorted(run_through(text)), rel=1e-12)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9).filter(bool))
    def test_whole_numbers_equal_those_of_a_hydra_sweep(self, start, stop, step):
        text = f"range({start},{stop},{step})"
        expected = run_through(text)
        assume(expected)
        values = given_to_trials(searched(text))
        assert values == sorted(expected) and {type(value) for value in values} == {int}

    @settings(max_examples=30, deadline=None)
    @given(st.integers(-30, 30), st.integers(1, 40), st.integers(1, 30), st.sampled_from([1, -1]))
    def test_decimals_equal_those_of_a_hydra_sweep(self, start, width, step, sign):
        text = f"range({start / 10},{(start + sign * width) / 10},{sign * step / 10})"
        expected = run_through(text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = given_to_trials(searched(text))
        assert values == pytest.approx(sorted(expected), rel=1e-9, abs=1e-9)
        assert {type(value) for value in values} == {float}


class TestIntervals:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("interval(0,1)", FloatDistribution(0.0, 1.0)),
            ("interval(1,10)", FloatDistribution(1.0, 10.0)),
            ("interval(-2.5,0)", FloatDistribution(-2.5, 0.0)),
            ("tag(log,interval(1e-5,1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
            ("int(interval(1,10))", IntDistribution(1, 10)),
            ("tag(int,interval(1,10))", IntDistribution(1, 10)),
            ("tag(int,log,interval(1,64))", IntDistribution(1, 64, log=True)),
            ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
            ("float(interval(1,2))", FloatDistribution(1.0, 2.0)),
        ],
    )
    def test_both_ends_are_included(self, text, expected):
        assert searched(text) == expected

    def test_whole_numbers_are_within_it(self):
        assert searched("tag(int,interval(0.5,3.5))") == IntDistribution(1, 3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("range(5,1)", "has no values"),
            ("range(1,1)", "has no values"),
            ("range(0.0,1.0,0.0)", "cannot be searched"),
            ("range(0,9,0)", "cannot be searched"),
            ("tag(log,range(1,10,2))", "cannot be searched"),
            ("tag(log,range(0.1,1.0,0.1))", r"a logarithmic scale has no steps; use interval\(low, high\)"),
            ("tag(log,interval(0,1))", "`low > 0` must hold"),
            ("interval(1,0)", "`low <= high` must hold"),
            ("tag(foo,interval(0,1))", "got tag 'foo', should be one of log, int"),
            ("tag(log,uniform,interval(1,2))", "got tag 'uniform', should be one of log, int"),
            ("tag(log,choice(1,2))", "log"),
            ("tag(int,range(0.0,4.0,0.5))", "int"),
            ("glob(*)", "use choice, range or interval"),
        ],
    )
    def test_in_a_line_that_shows_the_override(self, text, reason):
        with pytest.raises(ConfigError, match=reason) as refusal:
            searched(text)
        assert str(refusal.value).startswith(f"key={text}: ") and "\n" not in str(refusal.value)

    def test_a_plain_value(self):
        with pytest.raises(ConfigError, match=r"^key=1: is not a sweep"):
            searched("1")


class TestSplit:
    def test_fixed_and_searched_overrides(self):
        fixed, space = split("a=1", "b=1,2", "model=minilm", "c.d=interval(0,1)", "+e='x y'", "~f")
        assert fixed == ["a=1", "model=minilm", "+e='x y'", "~f"]
        assert space == {"b": CategoricalDistribution([1, 2]), "c.d": FloatDistribution(0.0, 1.0)}

    def test_nothing(self):
        assert split() == ([], {})

    def test_a_list_is_fixed(self):
        assert split("a=[1,2]") == (["a=[1,2]"], {})

    def test_the_last_override_of_a_key_counts(self):
        assert split("a=1,2", "b=3", "a=4") == (["b=3", "a=4"], {})
        assert split("a=4", "b=3", "a=1,2") == (["b=3"], {"a": CategoricalDistribution([1, 2])})
        assert split("a=1,2", "a=interval(0,1)") == ([], {"a": FloatDistribution(0.0, 1.0)})
        assert split("a=1", "b=2", "a=3") == (["b=2", "a=3"], {})

    def test_prefixes_do_not_matter(self):
        # Searched parameters come after fixed overrides, so a=1 would win.
        assert split("a=1,2", "++a=4") == (["++a=4"], {})
        assert list(split("a=1,2", "++a=3,4")[1]) == ["++a"]
        assert split("++a=1,2", "a=4")[1] == {}

    def test_packages_of_a_group_are_different_keys(self):
        fixed, space = split("model@one=a,b", "model@two=c", "model=d")
        assert (fixed, list(space)) == (["model@two=c", "model=d"], ["model@one"])


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
ELEMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.builds(QuotedString, TEXT, st.sampled_from(Quote))
    | st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.\-]{0,8}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z]{1,4}", fullmatch=True), inner),
    max_leaves=4,
)


class TestAsOverride:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "k=null"),
            (True, "k=true"),
            (False, "k=false"),
            (3, "k=3"),
            (1e-5, "k=1e-05"),
            (0.1 + 0.2, "k=0.30000000000000004"),
            (1.0, "k=1.0"),
            ("all", "k=all"),
            ("'a b'", "k='a b'"),
        ],
    )
    def test_by_hand(self, value, text):
        assert as_override("k", value) == text

    @given(st.floats() | st.integers() | st.booleans() | st.none())
    def test_every_digit_survives(self, value):
        assert same(parsed(as_override("key", value)).value(), value)

    @settings(max_examples=30)
    @given(st.lists(ELEMENTS, min_size=2, max_size=4))
    def test_a_choice_returns_its_elements(self, elements):
        """A trial gets the same values as a plain Hydra sweep."""
        text = ",".join(Transformer.str(element) for element in elements)
        try:
            expected = run_through(text)
        except HydraException:
            assume(False)  # Hydra cannot read every text that it writes
        assume(all(one != other for one, other in combinations(expected, 2)))
        values = given_to_trials(searched(text))
        assert len(values) == len(expected) and all(map(same, values, expected))


class TestCheckedPoints:
    SPACE: ClassVar = {
        "x": FloatDistribution(1e-5, 1e-3, log=True),
        "n": IntDistribution(1, 9, step=2),
        "f": FloatDistribution(0.0, 1.0, step=0.1),
        "c": CategoricalDistribution([32, "all", True, None]),
    }

    def checked(self, *points):
        return checked_points(points, self.SPACE, "hydra.sweeper.enqueue")

    def test_points_within_the_space_are_accepted(self):
        points = [{"x": 1e-4, "n": 3, "f": 0.3, "c": "all"}, {"c": None}, {"x": 1e-3, "c": True}, {}]
        assert self.checked(*points) == points

    def test_a_name_that_is_not_searched(self):
        with pytest.raises(ConfigError) as refusal:
            self.checked({"x": 1e-4}, {"lr": 1e-4})
        assert str(refusal.value) == "hydra.sweeper.enqueue[1].lr: is not searched, should be one of x, n, f, c"

    @pytest.mark.parametrize(
        "point",
        [{"x": 1e-6}, {"x": "a"}, {"x": None}, {"n": 10}, {"n": 2}, {"n": 2.5}, {"f": 0.35}, {"c": 64}, {"c": [32]}],
    )
    def test_a_value_that_is_not_within(self, point):
        ((name, value),) = point.items()
        with pytest.raises(ConfigError) as refusal:
            self.checked({"x": 1e-4}, point)
        assert str(refusal.value).startswith(f"hydra.sweeper.enqueue[1].{name}: got {value!r}, should lie in ")

    @pytest.mark.parametrize(("text", "value"), [("'a b',c", "a b"), ("choice([1,2],[3])", [1, 2]), ("'1',b", "1")])
    def test_a_value_may_be_written_as_in_yaml(self, text, value):
        space = {"c": searched(text)}
        (point,) = checked_points([{"c": value}], space, "KEY")
        assert point["c"] in space["c"].choices
        assert same(parsed(as_override("key", point["c"])).value(), value)
