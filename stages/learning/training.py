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
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.metrics import recall_score
from torch import Tensor, nn
from torchaudio.functional import mask_along_axis_iid

from stages.learning.batches import Batch, Batches, ClipData

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
_FEWEST_BANDS = 8  # features with fewer dimensions have no bands to mask


def spec_augment(
    batch: Batch, *, time_masks: int, time_frames: int, band_masks: int, band_share: float
) -> dict[str, Tensor]:
    """Hide stretches of time and bands of each feature behind the clip's own mean.

    Parameters
    ----------
    batch : Batch
    time_masks, band_masks : int
        how many of each per clip
    time_frames : int
        longest stretch; the same frames are hidden in every feature
    band_share : float
        widest band, as a share of a feature's dimensions

    Returns
    -------
    dict of Tensor [batch, frames, dimensions] by feature

    References
    ----------
    Park et al.: SpecAugment, Interspeech 2019
    """
    first = next(iter(batch.features.values()))
    seen = first.new_ones(len(first), 1, 1, first.shape[1])
    for _ in range(time_masks):
        seen = mask_along_axis_iid(seen, time_frames, 0.0, 3)
    seen = seen[:, 0].transpose(1, 2)  # [batch, frames, 1]
    result = {}
    for name, values in batch.features.items():
        dimensions = values.shape[2]
        bands = values.new_ones(len(values), 1, dimensions, 1)
        if dimensions >= _FEWEST_BANDS:
            for _ in range(band_masks):
                bands = mask_along_axis_iid(bands, round(band_share * dimensions), 0.0, 2)
        keep = seen * bands[:, 0].transpose(1, 2)  # [batch, frames, dimensions]
        mean = values.sum(dim=1, keepdim=True) / batch.lengths[:, None, None]
        result[name] = values * keep + mean * (1 - keep)
    return result


class _Loop(lightning.LightningModule):
    """What Lightning calls: the loss of a batch, the optimiser, one row of figures per epoch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        class_weight: Tensor | None,
        label_smoothing: float,
        augment: Callable[[Batch], dict[str, Tensor]],
        lr: float,
        weight_decay: float,
        warmup: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = nn.CrossEntropyLoss(class_weight, label_smoothing=label_smoothing)
        self.history: list[dict] = []
        self._augment = augment
        self._lr, self._weight_decay, self._warmup = lr, weight_decay, warmup
        self._seen: dict[str, list] = {"train": [], "validation": []}

    def _step(self, part: str, batch: Batch, features: dict[str, Tensor]) -> Tensor:
        logits = self.network(features, batch.lengths)
        loss = self.loss(logits, batch.labels)
        # The history shows the plain loss of both parts: the weighted one of a batch depends on the
        # classes that happen to be in it.
        plain = nn.functional.cross_entropy(logits.detach(), batch.labels, reduction="sum")
        self._seen[part].append((plain, batch.labels, logits.argmax(dim=1)))
        return loss

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = self._step("train", batch, self._augment(batch))
        if not torch.isfinite(loss):
            raise ValueError(f"epoch {self.current_epoch + 1}: the loss is {loss.item()}")
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        self._step("validation", batch, batch.features)

    def on_validation_epoch_end(self) -> None:
        # Lightning validates before it ends the training epoch, so both parts are complete here.
        row: dict = {"epoch": self.current_epoch + 1}
        for part, seen in self._seen.items():
            losses, truth, guess = zip(*seen, strict=True)
            truth, guess = torch.cat(truth).cpu(), torch.cat(guess).cpu()
            row[f"{part}_loss"] = float(torch.stack(losses).sum()) / len(truth)
            row[f"{part}_ua"] = float(
                recall_score(truth, guess, labels=truth.unique().numpy(), average="macro")
            )
            seen.clear()
        self.history.append(row)
        self.log_dict({name: value for name, value in row.items() if name != "epoch"})

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
    patience : int
        epochs without a better validation UA after which training stops
    class_weights : bool
        weigh each class by the inverse of its number of training clips
    label_smoothing, gradient_clip : float
        share of each target spread over all classes; largest norm of a step's gradient
    time_masks, time_mask_s, band_masks, band_share
        see spec_augment
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
        patience: int,
        class_weights: bool,
        label_smoothing: float,
        gradient_clip: float,
        time_masks: int,
        time_mask_s: float,
        band_masks: int,
        band_share: float,
    ) -> None:
        if batch_size < 2:
            raise ValueError(f"train.batch_size: got {batch_size}, want at least 2")
        if not 0 < warmup < 1:
            raise ValueError(f"train.warmup: got {warmup}, want a share between 0 and 1")
        self._build, self._folder, self._logs, self._on_epoch = build, folder, logs, on_epoch
        self._epochs, self._batch_size, self._patience = epochs, batch_size, patience
        self._crop = round(crop_s * sample_rate / hop_length)
        self._class_weights, self._gradient_clip = class_weights, gradient_clip
        self._optimiser = {"lr": lr, "weight_decay": weight_decay, "warmup": warmup}
        self._label_smoothing = label_smoothing
        self._masks = {
            "time_masks": time_masks,
            "time_frames": round(time_mask_s * sample_rate / hop_length),
            "band_masks": band_masks,
            "band_share": band_share,
        }

    def fit(
        self, data: ClipData, *, train: np.ndarray, validation: np.ndarray, seed: int
    ) -> list[dict]:
        """Train, and keep the epoch with the best validation UA.

        Parameters
        ----------
        data : ClipData
        train, validation : int64 [n]
            positions in the data
        seed : int
            of the weights, the order, the crops and the masks

        Returns
        -------
        list of dict
            per epoch: epoch, and loss (plain cross-entropy) and UA of training and validation

        Raises
        ------
        ValueError
            if the loss is no longer finite
        """
        lightning.seed_everything(seed, verbose=False)
        self.network = self._build(data.inputs, data.n_classes)
        self.network.input.fit(data.statistics(train))
        loop = _Loop(
            self.network,
            class_weight=_class_weight(data, train) if self._class_weights else None,
            label_smoothing=self._label_smoothing,
            augment=lambda batch: spec_augment(batch, **self._masks),
            **self._optimiser,
        )
        best = ModelCheckpoint(
            dirpath=self._folder, monitor="validation_ua", mode="max", save_weights_only=True
        )
        stopping = EarlyStopping("validation_ua", mode="max", patience=self._patience)
        progress = LambdaCallback(on_validation_end=lambda *_: self._on_epoch())
        trainer = lightning.Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=self._epochs,
            gradient_clip_val=self._gradient_clip,
            callbacks=[best, stopping, progress],
            logger=TensorBoardLogger(self._logs.parent, name="", version=self._logs.name),
            log_every_n_steps=1_000_000,  # figures per epoch, not per step
            num_sanity_val_steps=0,
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
                Batches(data, train, size=self._batch_size, shuffle_seed=seed, crop=self._crop),
                Batches(data, validation, size=self._batch_size),
            )
        kept = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        loop.load_state_dict(kept)
        self.network.cpu().eval()
        return loop.history

    @torch.inference_mode()
    def predict(self, data: ClipData, clips: np.ndarray) -> np.ndarray:
        """Probabilities [clips, classes] of whole clips."""
        result = np.zeros((len(clips), data.n_classes))
        place = np.zeros(len(data.labels), dtype=np.int64)
        place[clips] = np.arange(len(clips))
        for batch in Batches(data, clips, size=self._batch_size):
            logits = self.network(batch.features, batch.lengths)
            result[place[batch.clips.numpy()]] = logits.double().softmax(dim=1).numpy()
        return result

    def state(self) -> dict[str, Tensor]:
        """The weights and the normalisation, by name."""
        return self.network.state_dict()


def _class_weight(data: ClipData, train: np.ndarray) -> Tensor:
    """Inverse of each class's number of training clips, 1 on average; 0 for a class without any."""
    number = np.bincount(data.labels[train], minlength=data.n_classes)
    weight = np.where(number > 0, 1 / np.maximum(number, 1), 0)
    return torch.tensor(weight * np.count_nonzero(number) / weight.sum(), dtype=torch.float32)
