import pytest

from llmhash.errors import InputError
from llmhash.objectives.schedules import Schedule


def test_a_number_is_the_same_at_every_step():
    schedule = Schedule.parse(0.3)
    assert [schedule(step) for step in (0, 1, 10**9)] == [0.3] * 3
    assert Schedule.parse(schedule) is schedule
    assert Schedule.parse({"start": 2, "shape": "constant"})(7) == 2.0


def test_linear_adds_the_same_at_each_step_until_it_ends():
    schedule = Schedule.parse({"start": 0, "end": 1.0, "steps": 4})
    assert [schedule(step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_exponential_multiplies_by_the_same_at_each_step_until_it_ends():
    schedule = Schedule.parse({"start": 1.0, "end": 0.0625, "steps": 4, "shape": "exponential"})
    assert [schedule(step) for step in range(6)] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625, 0.0625])


def test_wish_s_weight_of_the_divergence_rises_by_five_millionths_a_step():
    schedule = Schedule.parse({"start": 0, "end": 1, "steps": 200_000})
    assert schedule(1001) - schedule(1000) == pytest.approx(5e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "a weight must be a number from 0 on, not -1"),
        ("high", "a weight must be a number from 0 on, not 'high'"),
        (True, "must be a number"),
        (float("inf"), "must be a number"),
        ({"start": 0, "end": 1}, "must say its steps too"),
        ({"end": 1}, "must say its start and steps too"),
        ({"start": 0, "stop": 1, "steps": 2}, "no setting 'stop'; did you mean st"),
        ({"start": 0, "end": 1, "steps": 0}, "steps of a schedule must be a whole number from 1 on"),
        ({"start": 0, "end": 1, "steps": 5, "shape": "lines"}, "did you mean linear"),
        ({"start": 0, "end": 1, "steps": 5, "shape": "exponential"}, "must be a number above 0 on, not 0"),
        ({"start": 0, "end": float("nan"), "steps": 5}, "end of a schedule must be a number"),
    ],
)
def test_what_is_no_schedule_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        Schedule.parse(value)


def test_an_error_says_which_number_was_meant():
    with pytest.raises(InputError, match="the temperature must be a number"):
        Schedule.parse(None, "the temperature")
