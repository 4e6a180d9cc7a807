"""Training one network: Lightning's loop, stopping and checkpoints around the project's batches."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.metrics import recall_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from stages.learning.augment import add_noise, mixup, spec_augment
from stages.learning.batches import Batch, ClipData, TrainingBatches, WholeBatches

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class _Loop(lightning.LightningModule):
    """What Lightning calls: the loss of a batch, the optimiser, one row of figures per epoch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        class_weight: Tensor,
        label_smoothing: float,
        augment: Callable[[Batch, Tensor], tuple[Batch, Tensor]],
        lr: float,
        weight_decay: float,
        warmup: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = nn.CrossEntropyLoss(class_weight, label_smoothing=label_smoothing)
        self.history: list[dict] = []
        self._n_classes = len(class_weight)
        self._augment = augment
        self._lr, self._weight_decay, self._warmup = lr, weight_decay, warmup
        self._seen: dict[str, list] = {"train": [], "validation": []}
        self._validated = {"validation_loss": math.nan, "validation_ua": math.nan}

    def _logits(self, part: str, batch: Batch) -> Tensor:
        logits = self.network(batch.features, batch.lengths)
        # The history shows the plain loss of both parts: neither weighted nor of mixed targets.
        plain = nn.functional.cross_entropy(logits.detach(), batch.labels, reduction="sum")
        self._seen[part].append((plain, batch.labels, logits.argmax(dim=1)))
        return logits

    def training_step(self, batch: Batch, _: int) -> Tensor:
        targets = nn.functional.one_hot(batch.labels, self._n_classes).float()
        batch, targets = self._augment(batch, targets)
        loss = self.loss(self._logits("train", batch), targets)
        if not torch.isfinite(loss):
            raise ValueError(f"epoch {self.current_epoch + 1}: the loss is {loss.item()}")
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        self._logits("validation", batch)

    def on_validation_epoch_end(self) -> None:
        self._validated = self._figures("validation")
        self.log_dict(self._validated)

    def on_train_epoch_end(self) -> None:
        # Lightning validates before it ends the training epoch, so both parts are complete here.
        row = {"epoch": self.current_epoch + 1, **self._figures("train"), **self._validated}
        self.history.append(row)
        self.log_dict({name: value for name, value in row.items() if name.startswith("train")})

    def _figures(self, part: str) -> dict[str, float]:
        """Loss and UA of what was seen of a part since the last call."""
        losses, truth, guess = zip(*self._seen[part], strict=True)
        truth, guess = torch.cat(truth).cpu(), torch.cat(guess).cpu()
        ua = recall_score(truth, guess, labels=truth.unique().numpy(), average="macro")
        self._seen[part].clear()
        loss = float(torch.stack(losses).sum()) / len(truth)
        return {f"{part}_loss": loss, f"{part}_ua": float(ua)}

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self._lr, weight_decay=self._weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=self._lr,
            # Of few steps none would rise, which the schedule divides by.
            total_steps=max(steps, math.ceil(2 / min(self._warmup, 1 - self._warmup))),
            pct_start=self._warmup,
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class NetworkLearner:
    """Trains and applies one network; the classical models have the same `fit`, `predict`, `state`.

    Parameters
    ----------
    build : inputs, n_classes -> nn.Module
        the network, its settings bound
    folder, logs : Path
        for checkpoints while training; for TensorBoard
    on_epoch : callable
        called after every epoch, to show progress
    epochs, batch_size : int
        most epochs; clips per step
    crop_s : float
        longer training clips are cut to this, in seconds, anew in every epoch
    sample_rate, hop_length : int
        of the frame clock, in Hz and samples
    lr, weight_decay, warmup : float
        highest learning rate of a one-cycle schedule; AdamW's decay; share of the steps that the
        learning rate rises
    average : float
        what is validated and kept is the moving average of the weights over the steps, with this
        decay (over fewer steps at the beginning); 0: the last step's weights
    patience : int or None
        epochs without a better validation UA after which training stops, and the best epoch is
        kept. None: the last epoch is kept, and validation clips choose nothing
    class_weights : bool
        weigh each class by the inverse of its number of training clips
    label_smoothing, gradient_clip : float
        share of each target spread over all classes; largest norm of a step's gradient
    speed : float
        most by which a clip is slowed down or hurried, as a share; drawn anew in every epoch
    mixup, noise, time_masks, time_mask_s, band_masks, band_share
        see stages.learning.augment
    """

    def __init__(
        self,
        build: Callable[..., nn.Module],
        folder: Path,
        logs: Path,
        on_epoch: Callable[[], None],
        *,
        epochs: int,
        batch_size: int,
        crop_s: float,
        sample_rate: int,
        hop_length: int,
        lr: float,
        weight_decay: float,
        warmup: float,
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
        if batch_size < 2:
            raise ValueError(f"train.batch_size: got {batch_size}, want at least 2")
        if not 0 < warmup < 1:
            raise ValueError(f"train.warmup: got {warmup}, want a share between 0 and 1")
        if not 0 <= average < 1:
            raise ValueError(f"train.average: got {average}, want at least 0 and less than 1")
        if not 0 <= speed < 1:
            raise ValueError(f"train.speed: got {speed}, want at least 0 and less than 1")
        for name, value in (("mixup", mixup), ("noise", noise)):
            if value < 0:
                raise ValueError(f"train.{name}: got {value}, want at least 0")
        self._build, self._folder, self._logs, self._on_epoch = build, folder, logs, on_epoch
        self._epochs, self._batch_size = epochs, batch_size
        self._average, self._patience = average, patience
        self._crop, self._speed = round(crop_s * sample_rate / hop_length), speed
        self._class_weights, self._gradient_clip = class_weights, gradient_clip
        self._optimiser = {"lr": lr, "weight_decay": weight_decay, "warmup": warmup}
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
            if the loss is no longer finite, or nothing can be chosen where no clip validates
        """
        if self._patience is not None and not len(validation):
            raise ValueError(
                f"train.patience: got {self._patience}, want null where no clip validates "
                "(split.validation 0)"
            )
        lightning.seed_everything(seed, verbose=False)
        self.network = self._build(data.inputs, data.n_classes)
        self.network.input.fit(data.statistics(train))
        labels = data.labels[train] if self._class_weights else None
        loop = _Loop(
            self.network,
            class_weight=_class_weight(labels, n_classes=data.n_classes),
            label_smoothing=self._label_smoothing,
            augment=self._augment,
            **self._optimiser,
        )
        callbacks: list[Callback] = [
            LambdaCallback(on_train_epoch_end=lambda *_: self._on_epoch()),
            WeightAveraging(avg_fn=self._averaged),
        ]
        if self._patience is not None:
            # Whole checkpoints: one of weights only holds the weights of the step, not the average.
            best = ModelCheckpoint(dirpath=self._folder, monitor="validation_ua", mode="max")
            callbacks += [best, EarlyStopping("validation_ua", mode="max", patience=self._patience)]
        trainer = lightning.Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=self._epochs,
            gradient_clip_val=self._gradient_clip,
            callbacks=callbacks,
            logger=TensorBoardLogger(self._logs.parent, name="", version=self._logs.name),
            log_every_n_steps=1_000_000,  # figures per epoch, not per step
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if len(validation) else 0,
            enable_checkpointing=self._patience is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            # The first two are meant for loaders of many workers and loops that log each step, the
            # third for Lightning itself.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*logging interval.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            trainer.fit(
                loop,
                TrainingBatches(
                    data,
                    train,
                    size=self._batch_size,
                    crop=self._crop,
                    speed=self._speed,
                    seed=seed,
                ),
                self._whole(data, validation),
            )
        if self._patience is not None:
            kept = torch.load(best.best_model_path, weights_only=True)["state_dict"]
            loop.load_state_dict(kept)
        self.network.cpu().eval()
        return loop.history

    def _augment(self, batch: Batch, targets: Tensor) -> tuple[Batch, Tensor]:
        batch, targets = mixup(batch, targets, alpha=self._mixup)
        batch = add_noise(batch, self.network.input.deviation, share=self._noise)
        return spec_augment(batch, **self._masks), targets

    def _averaged(self, average: Tensor, current: Tensor, steps: Tensor) -> Tensor:
        if not average.is_floating_point():  # batch normalisation counts its batches
            return current
        decay = min(self._average, (1 + steps.item()) / (10 + steps.item()))
        return torch.lerp(current, average, decay)

    def _whole(self, data: ClipData, clips: np.ndarray) -> WholeBatches:
        size = self._batch_size
        return WholeBatches(data, clips, size=size, most_frames=size * self._crop)

    @torch.inference_mode()
    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Probabilities [clips, classes] of whole clips."""
        result = np.zeros((len(clips), data.n_classes))
        place = np.zeros(len(data.labels), dtype=np.int64)
        place[clips] = np.arange(len(clips))
        for batch in self._whole(data, clips):
            logits = self.network(batch.features, batch.lengths)
            result[place[batch.clips.numpy()]] = logits.double().softmax(dim=1).numpy()
        return result

    def state(self) -> dict[str, Tensor]:
        """The weights and the normalisation, by name."""
        return self.network.state_dict()


def _class_weight(labels: np.ndarray | None, *, n_classes: int) -> Tensor:
    """Weight of each class, [n_classes]: 1 on average over the clips; 0 for a class without any."""
    if labels is None:
        return torch.ones(n_classes)
    weight = torch.zeros(n_classes)
    classes = np.unique(labels)
    weight[classes] = torch.tensor(
        compute_class_weight("balanced", classes=classes, y=labels), dtype=torch.float32
    )
    return weight
