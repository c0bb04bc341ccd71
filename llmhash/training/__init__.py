"""The one training loop: it knows no method and no head. Checkpoints and the log stand beside it."""

from llmhash.training.log import plot_log, read_log
from llmhash.training.loop import Loss, Progress, train
from llmhash.training.plan import TrainingPlan, TrainingRun
from llmhash.training.record import Record

__all__ = ["Loss", "Progress", "Record", "TrainingPlan", "TrainingRun", "plot_log", "read_log", "train"]
