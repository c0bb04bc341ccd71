import math
import signal

import pytest
import torch
from torch import nn

from llmhash.errors import InputError
from llmhash.training import Record, TrainingPlan, read_log, train


class Point(nn.Module):
    """One number."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.register_buffer("count", torch.tensor(0))


TARGETS = torch.linspace(2.0, 4.0, 11)


def fit(point, plan, **kwargs):
    return train(point, lambda items, _: (point.value - TARGETS[items]).square().mean(), 11, plan, **kwargs)


def test_it_finds_the_minimum_and_reports_each_step():
    point, seen = Point(), []
    run = fit(point, TrainingPlan(300, batch_size=11, learning_rate=0.1), progress=lambda *a: seen.append(a))
    assert point.value.item() == pytest.approx(3.0, abs=0.02)
    assert run.stopped == "finished"
    assert [step for step, _, _ in seen] == list(range(1, 301))
    assert seen[-1][1] == 300
    assert "loss" in seen[-1][2]


def test_an_epoch_sees_each_item_once_and_weights_decide_the_draw():
    point, drawn = Point(), []

    def record(items, _):
        drawn.extend(items.tolist())
        return point.value.square()

    train(point, record, 7, TrainingPlan(7, batch_size=3))
    assert sorted(drawn) == sorted(list(range(7)) * 3)
    drawn.clear()
    train(point, record, 3, TrainingPlan(50, batch_size=20), weights=torch.tensor([3.0, 0.0, 1.0]))
    assert set(drawn) == {0, 2}
    assert drawn.count(0) / len(drawn) == pytest.approx(0.75, abs=0.05)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    plan = TrainingPlan(20, batch_size=2, learning_rate=0.1)
    values = []
    for seed in (0, 0, 1):
        point = Point()
        fit(point, plan, seed=seed)
        values.append(point.value.item())
    assert values[0] == values[1] != values[2]


def test_the_best_validated_weights_come_back():
    point = Point()
    plan = TrainingPlan(100, batch_size=11, learning_rate=0.1, schedule="constant", validate_every=1)
    run = fit(point, plan, validate=lambda: abs(point.value.item() - 1.0))
    assert point.value.item() == pytest.approx(1.0, abs=0.1)
    assert run.best == pytest.approx(abs(point.value.item() - 1.0))
    assert 0 < run.best_step < 30
    assert run.best == min(figure for _, figure in run.history)


def test_training_never_ends_worse_than_it_began():
    point = Point(-1.0)
    run = fit(point, TrainingPlan(30, learning_rate=0.1), validate=lambda: abs(point.value.item() + 1.0))
    assert run.best_step == 0
    assert point.value.item() == -1.0


def test_patience_stops_early():
    point = Point()
    plan = TrainingPlan(1000, learning_rate=0.1, validate_every=5, patience=3)
    run = fit(point, plan, validate=lambda: point.value.item())
    assert run.stopped == "patience"
    assert run.steps == 15


def test_a_time_budget_stops_and_keeps_what_was_learned():
    point = Point()
    run = fit(point, TrainingPlan(10**6, batch_size=11, learning_rate=0.1, warmup=0.0, max_seconds=0.2))
    assert run.stopped == "time"
    assert 0 < run.steps < 10**6
    assert run.best_step == run.steps
    assert point.value.item() > 0.1


class Clock:
    """Time that passes as it is told."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("llmhash.training.loop.time.monotonic", lambda: self.now)


def test_schedules_end_with_the_time(monkeypatch, tmp_path):
    clock, point, seen = Clock(monkeypatch), Point(), []

    def loss(_, step):
        seen.append(step)
        clock.now += 1.0
        return point.value.square()

    plan = TrainingPlan(1000, learning_rate=0.1, max_seconds=20.0)
    run = train(point, loss, 5, plan, record=Record(tmp_path, log_every=1))
    assert run.stopped == "time"
    assert seen == [*range(0, 1000, 50), 999]
    assert [line["rate"] for line in read_log(tmp_path)] == [plan.rate(step) for step in seen]


def test_time_that_suffices_changes_nothing(monkeypatch):
    clock, points = Clock(monkeypatch), []
    for seconds in (None, 20.0):
        points.append(Point())
        seen = []

        def loss(items, step, point=points[-1], seen=seen):
            seen.append(step)
            clock.now += 0.19
            return (point.value - TARGETS[items]).square().mean()

        run = train(points[-1], loss, 11, TrainingPlan(100, batch_size=2, max_seconds=seconds))
        assert run.stopped == "finished"
        assert seen == list(range(100))
    assert points[0].value.item() == points[1].value.item()


def test_time_before_an_interruption_counts(monkeypatch, tmp_path):
    clock, seen = Clock(monkeypatch), []

    def loss(_, step):
        seen.append(step)
        clock.now += 1.0
        if len(seen) == 8:
            signal.raise_signal(signal.SIGINT)
        return point.value.square()

    plan, record = TrainingPlan(1000, learning_rate=0.1, max_seconds=20.0), Record(tmp_path)
    point = Point()
    with pytest.raises(KeyboardInterrupt):
        train(point, loss, 5, plan, record=record)
    clock.now += 500.0
    point = Point()
    train(point, loss, 5, plan, record=record)
    assert seen == [*range(0, 1000, 50), 999]


def test_a_nan_loss_is_one_clear_error_and_the_last_good_weights_stay():
    point = Point()

    def loss(_, step):
        return point.value * (math.nan if step == 25 else -1.0)

    with pytest.raises(InputError, match=r"became nan at step 25; lower the learning rate"):
        train(point, loss, 5, TrainingPlan(100, learning_rate=0.1, validate_every=10))
    assert math.isfinite(point.value.item())
    assert point.value.item() > 0.5


def test_the_moving_average_is_what_is_validated_and_kept():
    plain, averaged = Point(), Point()
    rough = {"batch_size": 1, "learning_rate": 0.5, "schedule": "constant", "validate_every": 200}
    fit(plain, TrainingPlan(200, **rough))
    seen = []
    plan = TrainingPlan(200, average=0.98, **rough)
    run = fit(averaged, plan, validate=lambda: seen.append(averaged.value.item()) or -len(seen))
    assert run.best_step == 200
    assert averaged.value.item() == seen[-1]
    assert abs(averaged.value.item() - 3.0) < 0.35
    assert averaged.value.item() != plain.value.item()


def test_the_cosine_schedule_rises_then_falls_to_nothing():
    plan = TrainingPlan(100, learning_rate=2.0, warmup=0.1)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert max(rates) == pytest.approx(2.0, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("validate_every", 0),
        ("patience", -1),
        ("clip", -1.0),
        ("warmup", 1.0),
        ("average", 1.0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("max_seconds", 0.0),
        ("schedule", "linear"),
    ],
)
def test_impossible_plans_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        TrainingPlan(**{"steps": 10, setting: value})


def test_nothing_to_train_on_is_refused():
    point = Point()
    with pytest.raises(InputError, match="nothing to train on"):
        train(point, lambda *_: point.value, 0, TrainingPlan(5))
