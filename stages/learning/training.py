"""Training one network on the clips of one job, and applying it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from stages.learning.augment import add_noise, mixup, spec_augment
from stages.learning.batches import (
    Batch,
    ClipData,
    TrainingBatches,
    WholeBatches,
    even_chance,
)
from stages.learning.checkpoints import read_checkpoint
from stages.learning.layers import window_frames, windowed
from stages.learning.loop import Loop
from stages.learning.schedules import Schedule


class NetworkLearner:
    """Trains and applies one network; the classical models have the same `fit`, `predict`, `state`.

    Parameters
    ----------
    build : inputs, n_classes -> nn.Module
        the network, its settings bound
    logs : Path
        a folder, for TensorBoard
    on_epoch : callable
        called after every epoch, to show progress
    epochs, batch_size : int
        most epochs; clips per step
    crop_s : float
        longer training clips are cut to this, in seconds, anew in every epoch
    window_s : float or None
        clips that validate or are predicted are answered for by the mean over windows of so many
        seconds; None: as they are. See stages.learning.layers.windowed
    sample_rate, hop_length : int
        of the frame clock, in Hz and samples
    balance : none, label or corpus
        each label, or each corpus, is drawn as often on a pass; none: each clip is drawn once
    lr, schedule, warmup, plateau_factor, plateau_patience
        the learning rate and its course: see stages.learning.schedules
    weight_decay : float
        of AdamW
    warm_start : path or None
        a checkpoint of the same network whose weights the training starts from, proven to fit by
        stages.learning.checkpoints; the normalisation is that of the new training clips
    average : float
        what is validated and kept is the moving average of the weights over the steps, with this
        decay (over fewer steps at the beginning); 0: the last step's weights
    patience : int or None
        epochs without a better validation UA after which training stops, and the best epoch is
        kept. None: the last epoch is kept, and validation clips choose nothing
    class_weights : bool
        weigh each class by the inverse of how often its training clips are drawn
    label_smoothing, gradient_clip : float
        share of each target spread over all classes; largest norm of a step's gradient, 0: any
    speed : float
        most by which a clip is slowed down or hurried, as a share; drawn anew in every epoch
    mixup, noise, time_masks, time_mask_s, band_masks, band_share
        see stages.learning.augment
    """

    #: Whether validation clips are among those that the weights are fitted on.
    fits_validation = False
    #: Where `fit` raised: the epoch whose weights `state` gives, the best one before it, if any.
    rescued: int | None = None

    def __init__(
        self,
        build: Callable[..., nn.Module],
        logs: Path,
        on_epoch: Callable[[], None],
        *,
        epochs: int,
        batch_size: int,
        crop_s: float,
        window_s: float | None,
        sample_rate: int,
        hop_length: int,
        balance: str,
        lr: float,
        schedule: str,
        warmup: float,
        plateau_factor: float,
        plateau_patience: int,
        weight_decay: float,
        warm_start: str | None,
        average: float,
        patience: int | None,
        class_weights: bool,
        label_smoothing: float,
        gradient_clip: float,
        speed: float,
        mixup: float,
        noise: float,
        time_masks: int,
        time_mask_s: float,
        band_masks: int,
        band_share: float,
    ) -> None:
        for name, value, right, want in (
            ("epochs", epochs, epochs >= 1, "at least 1"),
            ("batch_size", batch_size, batch_size >= 2, "at least 2"),
            ("crop_s", crop_s, crop_s > 0, "more than 0 seconds"),
            ("window_s", window_s, window_s is None or window_s > 0, "null or more than 0 seconds"),
            ("balance", balance, balance in ("none", "label", "corpus"), "none, label or corpus"),
            ("weight_decay", weight_decay, weight_decay >= 0, "at least 0"),
            ("average", average, 0 <= average < 1, "at least 0 and less than 1"),
            ("patience", patience, patience is None or patience >= 1, "null or at least 1 epoch"),
            ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "at least 0, under 1"),
            ("gradient_clip", gradient_clip, gradient_clip >= 0, "at least 0, 0 for no clipping"),
            ("speed", speed, 0 <= speed < 1, "at least 0 and less than 1"),
            ("mixup", mixup, mixup >= 0, "at least 0"),
            ("noise", noise, noise >= 0, "at least 0"),
        ):
            if not right:
                raise ValueError(f"train.{name}: got {value!r}, want {want}")
        self._build, self._logs, self._on_epoch = build, logs, on_epoch
        self._epochs, self._batch_size = epochs, batch_size
        self._average, self._patience = average, patience
        self._crop, self._speed = round(crop_s * sample_rate / hop_length), speed
        clock = {"sample_rate": sample_rate, "hop_length": hop_length}
        self._window = window_frames({"window_s": window_s, **clock})
        self._balance = balance
        self._class_weights, self._gradient_clip = class_weights, gradient_clip
        self._weight_decay, self._warm_start = weight_decay, warm_start
        self._schedule = Schedule(
            name=schedule,
            lr=lr,
            warmup=warmup,
            factor=plateau_factor,
            patience=plateau_patience,
        )
        self._label_smoothing, self._mixup, self._noise = label_smoothing, mixup, noise
        self._masks = {
            "time_masks": time_masks,
            "time_frames": round(time_mask_s * sample_rate / hop_length),
            "band_masks": band_masks,
            "band_share": band_share,
        }

    def least_memory(self, data: ClipData) -> int:
        """Bytes that a step takes at least: a batch as it is, normalised, and augmented."""
        return 3 * 4 * self._batch_size * self._crop * sum(data.inputs.values())

    def fit(
        self, data: ClipData, *, train: np.ndarray, validation: np.ndarray, seed: int
    ) -> list[dict]:
        """Train; `patience` says which epoch is kept.

        Parameters
        ----------
        data : ClipData
        train, validation : int64 [n]
            positions in the data
        seed : int
            of the weights, the order, the crops and the augmentation

        Returns
        -------
        list of dict
            per epoch: epoch, and loss (plain cross-entropy) and UA of training and validation; NaN
            where no clip validates

        Raises
        ------
        ValueError
            if the loss is no longer finite, naming epoch, batch and clips; if nothing can be chosen
            where no clip validates, or there are fewer than two clips to train on
        """
        if len(train) < 2:
            raise ValueError(f"got {len(train)} clips to train on, want at least 2")
        nothing = "where no clip validates (split.validation 0)"
        if self._patience is not None and not len(validation):
            raise ValueError(f"train.patience: got {self._patience}, want null {nothing}")
        if self._schedule.watches_validation and not len(validation):
            raise ValueError(f"train.schedule: got {self._schedule.name}, want another {nothing}")
        torch.manual_seed(seed)
        self.network = self._build(data.inputs, data.n_classes)
        if self._warm_start is not None:
            self.network.load_state_dict(read_checkpoint(self._warm_start)["state"])
        self.network.input.fit(data.statistics(train))
        self.network.to("cuda" if torch.cuda.is_available() else "cpu")
        chance = self._chance(data, train)
        batches = TrainingBatches(
            data,
            train,
            size=self._batch_size,
            crop=self._crop,
            speed=self._speed,
            seed=seed,
            chance=chance,
        )
        labels = data.labels[train] if self._class_weights else None
        loop = Loop(
            self.network,
            names=data.names or range(len(data.labels)),
            class_weight=_class_weight(labels, n_classes=data.n_classes, chance=chance),
            label_smoothing=self._label_smoothing,
            weight_decay=self._weight_decay,
            gradient_clip=self._gradient_clip,
            average=self._average,
            augment=self._augment,
            window=self._window,
            schedule=self._schedule,
            steps=self._epochs * len(batches),
        )
        try:
            return self._run(loop, batches, self._whole(data, validation))
        finally:
            self.network.eval()

    def _run(self, loop: Loop, batches: TrainingBatches, validation: WholeBatches) -> list[dict]:
        """All epochs; leaves the network with the weights that are kept. The history, see `fit`."""
        history = []
        kept, best, best_ua = None, 0, -math.inf
        try:
            with SummaryWriter(self._logs) as writer:
                for epoch in range(1, self._epochs + 1):
                    row = {"epoch": epoch, **loop.train(batches)}
                    with loop.averaged():
                        row |= loop.validate(validation)
                        if self._patience is not None and row["validation_ua"] > best_ua:
                            kept, best, best_ua = loop.state(), epoch, row["validation_ua"]
                        elif self._patience is None and epoch == self._epochs:
                            kept = loop.state()
                    history.append(row)
                    for name, value in row.items():
                        if name != "epoch" and math.isfinite(value):
                            writer.add_scalar(name, value, loop.step)
                    self._on_epoch()
                    if self._patience is not None and epoch - best >= self._patience:
                        break
        except ValueError:
            if best:
                self.rescued = best
                self.network.load_state_dict(kept)
            raise
        self.network.load_state_dict(kept)
        return history

    def _chance(self, data: ClipData, train: np.ndarray) -> np.ndarray | None:
        """Of each training clip to be drawn next; None where each is drawn once."""
        if self._balance == "none":
            return None
        groups = data.labels if self._balance == "label" else data.corpora
        return even_chance(groups[train])

    def _augment(self, batch: Batch, targets: Tensor) -> tuple[Batch, Tensor]:
        batch, targets = mixup(batch, targets, alpha=self._mixup)
        batch = add_noise(batch, self.network.input.deviation, share=self._noise)
        return spec_augment(batch, **self._masks), targets

    def _whole(self, data: ClipData, clips: np.ndarray) -> WholeBatches:
        size = self._batch_size
        return WholeBatches(data, clips, size=size, most_frames=size * self._crop)

    @torch.inference_mode()
    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Probabilities [clips, classes] of whole clips, or the means over their windows."""
        result = np.zeros((len(clips), data.n_classes))
        device = next(self.network.parameters()).device
        place = np.zeros(len(data.labels), dtype=np.int64)
        place[clips] = np.arange(len(clips))
        for batch in self._whole(data, clips):
            where = place[batch.clips.numpy()]
            batch = batch.to(device)
            logits = windowed(self.network, batch.features, batch.lengths, frames=self._window)
            result[where] = logits.double().softmax(dim=1).cpu().numpy()
        return result

    def state(self) -> dict[str, Tensor]:
        """The weights and the normalisation, by name, in the memory of the CPU."""
        state = self.network.state_dict()
        state.update({name: values.cpu() for name, values in state.items()})
        return state


def _class_weight(
    labels: np.ndarray | None, *, n_classes: int, chance: np.ndarray | None
) -> Tensor:
    """Weight of each class, [n_classes]: 1 on average over the clips; 0 for a class without any.

    How often clips are drawn counts as well: labels that are drawn as often all weigh the same.
    """
    if labels is None:
        return torch.ones(n_classes)
    weight = torch.zeros(n_classes)
    classes = np.unique(labels)
    weight[classes] = torch.tensor(
        compute_class_weight("balanced", classes=classes, y=labels, sample_weight=chance),
        dtype=torch.float32,
    )
    return weight
