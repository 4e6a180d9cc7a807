"""Training one network on the clips of one job, and applying it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from stages.learning.augment import Augmentation
from stages.learning.batches import (
    Batch,
    ClipData,
    TrainingBatches,
    WholeBatches,
    balanced_probability,
)
from stages.learning.checkpoints import read_checkpoint
from stages.learning.layers import input_layer, window_frames, windowed
from stages.learning.learner import Learner, figures
from stages.learning.linear import solve
from stages.learning.loop import Loop
from stages.learning.schedules import Schedule
from stages.learning.speaker_head import add_head, check_head, pooled_vectors
from stages.settings.checks import check


class NetworkLearner(Learner):
    """The training of one network.

    Parameters
    ----------
    build : inputs, n_classes -> nn.Module
        the network with its settings. One with a method `solver` is not trained: its layer
        `classifier` gets the weights that the estimator of this method finds
    epochs, batch_size : int
        largest number of epochs; clips per step
    crop_s : float
        length in seconds to which longer training clips are cropped, anew in every epoch
    window_s : float or None
        length in seconds of the windows whose probabilities are averaged in validation and
        prediction; None: whole clips. See stages.learning.layers.windowed
    sample_rate, hop_length : int
        of the frame clock, in Hz and samples
    balance : none, label or corpus
        group of clips that an epoch draws equally often; none: each clip is drawn once
    lr : float
        highest learning rate
    weight_decay : float
        of AdamW
    warm_start : str or None
        checkpoint of the same network whose weights the training starts from; the normalisation
        is fitted to the new training clips
    average : float
        decay of the moving average of the weights over the steps; the averaged weights are
        validated and kept. 0: the weights of the last step
    patience : int or None
        epochs without a higher validation UA before training stops; the best epoch is kept. None:
        the last epoch is kept, and the validation clips choose nothing
    class_weights : bool
        weigh each class by the inverse of how often its training clips are drawn
    label_smoothing : float
        share of each target that is spread over all classes
    gradient_clip : float
        largest norm of a step's gradient; 0: no limit
    augment : Augmentation
        of training batches
    schedule : Schedule
        of the learning rate

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    calibrates = True

    def __init__(
        self,
        build: Callable[..., Any],
        *,
        epochs: int,
        batch_size: int,
        crop_s: float,
        window_s: float | None,
        sample_rate: int,
        hop_length: int,
        balance: str,
        lr: float,
        weight_decay: float,
        warm_start: str | None,
        average: float,
        patience: int | None,
        class_weights: bool,
        label_smoothing: float,
        gradient_clip: float,
        augment: Augmentation,
        schedule: Schedule,
    ) -> None:
        check("train.epochs", epochs, epochs >= 1, "at least 1")
        check("train.batch_size", batch_size, batch_size >= 2, "at least 2")
        check("train.crop_s", crop_s, crop_s > 0, "more than 0 seconds")
        fine = window_s is None or window_s > 0
        check("train.window_s", window_s, fine, "null or more than 0 seconds")
        fine = balance in ("none", "label", "corpus")
        check("train.balance", balance, fine, "none, label or corpus")
        check("train.lr", lr, lr > 0, "more than 0")
        check("train.weight_decay", weight_decay, weight_decay >= 0, "at least 0")
        check("train.average", average, 0 <= average < 1, "at least 0 and less than 1")
        fine = patience is None or patience >= 1
        check("train.patience", patience, fine, "null or at least 1 epoch")
        fine = 0 <= label_smoothing < 1
        check("train.label_smoothing", label_smoothing, fine, "at least 0 and less than 1")
        check("train.gradient_clip", gradient_clip, gradient_clip >= 0, "at least 0; 0: no limit")
        self.epochs, self.warm_start = epochs, warm_start
        self.solved = hasattr(getattr(build, "func", build), "solver")
        self._build, self._batch_size = build, batch_size
        self._frame_rate = sample_rate / hop_length
        self._crop = round(crop_s * self._frame_rate)
        clock = {"sample_rate": sample_rate, "hop_length": hop_length}
        self._window = window_frames({"window_s": window_s, **clock})
        self._balance, self._class_weights = balance, class_weights
        self._lr, self._weight_decay, self._schedule = lr, weight_decay, schedule
        self._average, self._patience = average, patience
        self._label_smoothing, self._gradient_clip = label_smoothing, gradient_clip
        self._augmentation = augment

    def least_memory(self, data: ClipData) -> int:
        """Estimate the size of a batch as it is, normalised, and augmented, in bytes."""
        return 3 * 4 * self._batch_size * self._crop * sum(data.inputs.values())

    def fit(
        self,
        data: ClipData,
        *,
        train: np.ndarray,
        validation: np.ndarray,
        seed: int,
        logs: Path,
        on_epoch: Callable[[], None],
    ) -> list[dict[str, float]]:
        """Train the network; see `Learner.fit`. `patience` decides which epoch is kept.

        Raises
        ------
        ValueError
            if the loss is not finite, naming epoch, batch and clips; if a setting needs validation
            clips and there are none; if there are fewer than two training clips
        """
        if len(train) < 2:
            raise ValueError(f"got {len(train)} clips to train on, want at least 2")
        if not len(validation):
            reason = "where no clip validates (split.validation 0)"
            check("train.patience", self._patience, self._patience is None, f"null {reason}")
            fine = not self._schedule.watches_validation
            check("train.schedule", self._schedule, fine, f"another one {reason}")
        if self.calibration:
            fine = self._window is None
            check("train.window_s", self._window, fine, "null with calibration to speakers")
        torch.manual_seed(seed)
        network = self._build(data.inputs, data.n_classes)
        if self.calibration:
            check_head(network)
        self.network: nn.Module = network
        self._input = input_layer(network)
        if self.warm_start is not None:
            network.load_state_dict(read_checkpoint(self.warm_start)["state"])
        self._input.fit(data.statistics(train))
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        if (solver := getattr(network, "solver", None)) is not None:
            self._solve(data, train, solver(data.speakers_of(train)))
            on_epoch()
            row = {"epoch": 1} | figures("train", data.labels[train], self.predict(data, train))
            found = self.predict(data, validation)
            return [row | figures("validation", data.labels[validation], found)]
        probability = self._probability(data, train)
        batches = TrainingBatches(
            data,
            train,
            size=self._batch_size,
            crop=self._crop,
            speed=self._augmentation.speed,
            seed=seed,
            probability=probability,
        )
        labels = data.labels[train] if self._class_weights else None
        loop = Loop(
            network,
            names=data.names or range(len(data.labels)),
            class_weight=_class_weight(labels, n_classes=data.n_classes, probability=probability),
            label_smoothing=self._label_smoothing,
            weight_decay=self._weight_decay,
            gradient_clip=self._gradient_clip,
            average=self._average,
            augment=self._augment,
            targets=data.targets,
            window=self._window,
            lr=self._lr,
            schedule=self._schedule,
            steps=self.epochs * len(batches),
        )
        try:
            history = self._run(loop, batches, self._whole(data, validation), logs, on_epoch)
        finally:
            network.eval()
        if self.calibration:
            self._calibrate(data, train)
            if len(validation):
                truth, found = data.labels[validation], self.predict(data, validation)
                history[-1] |= figures("validation", truth, found)
        return history

    def _solve(self, data: ClipData, train: np.ndarray, solver: Any) -> None:
        """Find the weights of the last layer of a network that has no others to be trained."""
        self.network.eval()
        if self.calibration:
            self._calibrate(data, train, solver=solver)
        else:
            classifier: Any = self.network.classifier
            solve(classifier, self.vectors(data, train), data.labels[train], solver=solver)

    def _calibrate(self, data: ClipData, train: np.ndarray, *, solver: Any = None) -> None:
        """Fit a last layer to the pooled vectors of the training clips, less their speakers' means.

        The layers below it stay as they were trained, without knowing speakers.
        """
        assert self.calibration is not None
        vectors = self.calibration.fit(self.vectors(data, train), data.voices_of(train))
        statistics = self.calibration.statistics
        head = add_head(
            self.network,
            dimensions=vectors.shape[1],
            n_classes=data.n_classes,
            estimate_std=statistics.std,
        )
        head.fit(vectors, data.labels[train], statistics, solver=solver)
        head.to(next(self.network.parameters()).device)

    def _run(
        self,
        loop: Loop,
        batches: TrainingBatches,
        validation: Iterable[Batch],
        logs: Path,
        on_epoch: Callable[[], None],
    ) -> list[dict[str, float]]:
        """Run all epochs and leave the network with the weights of the epoch that is kept."""
        history: list[dict[str, float]] = []
        kept: dict[str, Tensor] = {}
        best, best_ua = 0, -math.inf
        try:
            with SummaryWriter(logs) as writer:
                for epoch in range(1, self.epochs + 1):
                    row = {"epoch": epoch, **loop.train(batches, on_share=self.on_share)}
                    with loop.averaged():
                        row |= loop.validate(validation)
                        if self._patience is not None and row["validation_ua"] > best_ua:
                            kept, best, best_ua = loop.state(), epoch, row["validation_ua"]
                        elif self._patience is None and epoch == self.epochs:
                            kept = loop.state()
                    history.append(row)
                    for name, value in row.items():
                        if name != "epoch" and math.isfinite(value):
                            writer.add_scalar(name, value, loop.step)
                    on_epoch()
                    if self._patience is not None and epoch - best >= self._patience:
                        break
        except ValueError:
            if best:
                self.rescued = best
                self.network.load_state_dict(kept)
            raise
        self.network.load_state_dict(kept)
        return history

    def _probability(self, data: ClipData, train: np.ndarray) -> np.ndarray | None:
        """Compute each training clip's probability to be drawn next; None: each is drawn once."""
        if self._balance == "none":
            return None
        groups = data.labels if self._balance == "label" else data.corpora
        return balanced_probability(groups[train])

    def _augment(self, batch: Batch, targets: Tensor) -> tuple[Batch, Tensor]:
        return self._augmentation.augment(
            batch, targets, std=self._input.std, frame_rate=self._frame_rate
        )

    def _whole(self, data: ClipData, clips: np.ndarray) -> WholeBatches:
        size = self._batch_size
        return WholeBatches(data, clips, size=size, most_frames=size * self._crop)

    @torch.inference_mode()
    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Predict probabilities, float64 [clips, classes]; see `Learner.predict`."""
        if self.calibration and len(clips):
            vectors = self.vectors(data, clips)
            represent = partial(self.vectors, data)
            vectors = self.calibration.apply(data, clips, vectors, represent=represent)
            head: Any = self.network.classifier
            values = torch.from_numpy(vectors).to(head.linear.weight)
            return head.normalised(values).double().softmax(dim=1).cpu().numpy()
        result = np.zeros((len(clips), data.n_classes))
        device = next(self.network.parameters()).device
        place = _places(data, clips)
        for batch in self._whole(data, clips):
            rows = place[batch.clips.numpy()]
            batch = batch.to(device)
            logits = windowed(self.network, batch.features, batch.lengths, frames=self._window)
            result[rows] = logits.double().softmax(dim=1).cpu().numpy()
        return result

    def vectors(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Compute the inputs of the network's last layers, float32, [clips, dimensions]."""
        place = _places(data, clips)
        return pooled_vectors(self.network, self._whole(data, clips), place=place, count=len(clips))

    def state(self) -> dict[str, Tensor]:
        """Return weights and normalisation by name, in the memory of the CPU."""
        state = self.network.state_dict()
        state.update({name: values.cpu() for name, values in state.items()})
        return state


def _places(data: ClipData, clips: np.ndarray) -> np.ndarray:
    """Row of each clip among those chosen, by its position in the data."""
    place = np.zeros(len(data.labels), dtype=np.int64)
    place[clips] = np.arange(len(clips))
    return place


def _class_weight(
    labels: np.ndarray | None, *, n_classes: int, probability: np.ndarray | None
) -> Tensor:
    """Compute the weight of each class, float32 [n_classes]: 1 on average over the clips drawn.

    A class without clips has the weight 0. Without labels all weights are 1.
    """
    if labels is None:
        return torch.ones(n_classes)
    drawn = np.bincount(labels, weights=probability, minlength=n_classes)
    present = drawn > 0
    weight = np.zeros(n_classes)
    weight[present] = drawn.sum() / (present.sum() * drawn[present])
    return torch.tensor(weight, dtype=torch.float32)
