import json
import signal

import pytest
import torch
from torch import nn

from llmhash.errors import FormatError, InputError
from llmhash.training import Record, TrainingPlan, plot_log, read_log, train
from llmhash.training.record import CHECKPOINT

ITEMS = 23
TARGETS = torch.linspace(-1.0, 1.0, ITEMS)[:, None] * torch.tensor([1.0, 2.0, -1.0])
PLAN = TrainingPlan(
    60, batch_size=5, learning_rate=0.05, validate_every=10, average=0.9, weight_decay=0.1, clip=5.0
)


class Run:
    """A noisy fit of some targets that can be stopped at a step and gone on with by another object."""

    def __init__(self, folder, *, stop_at=None, identity=None):
        self.module = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        with torch.no_grad():
            for number, parameter in enumerate(self.module.parameters()):
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) + 0.1 * number)
        self.generator = torch.Generator().manual_seed(1)
        self.stop_at, self.seen = stop_at, []
        self.record = None
        if folder is not None:
            self.record = Record(folder, identity or {}, {"noise": self.generator}, log_every=4)

    def loss(self, items, step):
        if step == self.stop_at:
            signal.raise_signal(signal.SIGINT)
        self.seen.append(items.tolist())
        noise = torch.randn(len(items), 1, generator=self.generator)
        errors = self.module(TARGETS[items, :1] + 0.1 * noise) - TARGETS[items]
        return {"first": errors[:, 0].square().mean(), "rest": errors[:, 1:].square().mean()}

    def validate(self):
        return float(sum(value.abs().sum() for value in self.module.parameters()))

    def train(self, plan=PLAN, seed=3):
        return train(
            self.module, self.loss, ITEMS, plan, seed=seed, validate=self.validate, record=self.record
        )


def assert_same_weights(one, other):
    for name, value in one.module.state_dict().items():
        torch.testing.assert_close(other.module.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("stop_at", [7, 29, 30])
@pytest.mark.parametrize("fused", [False, True])
def test_an_interrupted_run_goes_on_exactly(tmp_path, stop_at, fused):
    plan = TrainingPlan(**{**PLAN.__dict__, "fused": fused})
    whole = Run(None)
    expected = whole.train(plan)
    first = Run(tmp_path, stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        first.train(plan)
    # The step during which the interrupt came was finished.
    assert len(first.seen) == stop_at + 1
    second = Run(tmp_path)
    run = second.train(plan)
    assert first.seen + second.seen == whole.seen
    assert run == expected
    assert_same_weights(whole, second)
    assert [line["step"] for line in read_log(tmp_path)] == sorted({*range(4, 61, 4), *range(10, 61, 10)})


def test_a_finished_run_is_not_trained_again(tmp_path):
    once = Run(tmp_path)
    expected = once.train()
    again = Run(tmp_path)
    assert again.train() == expected
    assert again.seen == []
    assert_same_weights(once, again)


def test_an_interrupt_without_a_record_ends_at_once():
    run = Run(None, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert len(run.seen) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    Run(tmp_path, identity={"head": "a", "shape": (1, 2)}).train()
    with pytest.raises(InputError, match=r"is of another run \(head differ\)"):
        Run(tmp_path, identity={"head": "b", "shape": (1, 2)}).train()
    with pytest.raises(InputError, match=r"\(seed differ\): name another folder or remove it"):
        Run(tmp_path, identity={"head": "a", "shape": (1, 2)}).train(seed=4)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    Run(tmp_path).train()
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(FormatError, match=r"checkpoint\.safetensors is damaged"):
        Run(tmp_path).train()
    path.write_bytes(whole)
    other = Run(tmp_path)
    other.module.append(nn.Linear(3, 3))
    with pytest.raises(FormatError, match="does not fit this run"):
        other.train()


def test_a_diverged_run_says_where_its_checkpoint_is_and_goes_on_with_another_rate(tmp_path):
    class Diverging(Run):
        def loss(self, items, step):
            losses = super().loss(items, step)
            return {**losses, "rest": losses["rest"] * (float("inf") if step == 33 else 1.0)}

    run = Diverging(tmp_path)
    with pytest.raises(InputError, match=r"inf at step 33 \(rest\); lower .* last good checkpoint is .*"):
        run.train()
    assert all(torch.isfinite(value).all() for value in run.module.state_dict().values())
    resumed = Run(tmp_path)
    assert resumed.train(TrainingPlan(**{**PLAN.__dict__, "learning_rate": 0.01})).steps == 60
    assert len(resumed.seen) == 30


def test_weights_that_broke_at_a_validation_are_not_kept():
    run = Run(None)
    plan = TrainingPlan(20, batch_size=5, validate_every=5)

    def loss(items, step):
        losses = run.loss(items, step)
        # The value is finite and its gradient is not.
        return losses["first"] + (torch.sqrt(losses["rest"] * 0.0) if step == 9 else 0.0)

    with pytest.raises(InputError, match="became nan at step 10"):
        train(run.module, loss, ITEMS, plan)
    assert all(torch.isfinite(value).all() for value in run.module.state_dict().values())


def test_the_log_has_losses_by_name_and_validations_and_plots(tmp_path):
    Run(tmp_path).train()
    lines = read_log(tmp_path)
    assert set(lines[0]) == {"step", "seconds", "rate", "losses"}
    assert set(lines[0]["losses"]) == {"first", "rest"}
    validated = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert list(validated) == [10, 20, 30, 40, 50, 60]
    assert lines[0]["rate"] == pytest.approx(PLAN.rate(3))
    pytest.importorskip("matplotlib")
    picture = plot_log(tmp_path, tmp_path / "log.svg").read_text()
    assert "<svg" in picture
    with pytest.raises(InputError, match="holds no log"):
        plot_log(tmp_path / "elsewhere", tmp_path / "log.svg")


def test_a_log_line_cut_short_by_a_crash_is_dropped_and_a_broken_one_refused(tmp_path):
    Run(tmp_path).train()
    path = tmp_path / "log.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, '{"step": 6']))
    assert read_log(tmp_path) == [json.loads(line) for line in lines]
    path.write_text("\n".join(["{broken", *lines]))
    with pytest.raises(FormatError, match="line 1 is not JSON"):
        read_log(tmp_path)


def test_bfloat16_computes_the_loss_only():
    run, kinds = Run(None), []

    def loss(items, step):
        value = run.module[0](TARGETS[items, :1])
        kinds.append(value.dtype)
        return value.square().mean()

    train(run.module, loss, ITEMS, TrainingPlan(3, batch_size=5, bfloat16=True))
    assert kinds == [torch.bfloat16] * 3
    assert all(parameter.dtype == torch.float32 for parameter in run.module.parameters())
