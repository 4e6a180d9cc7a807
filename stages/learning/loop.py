"""What Lightning calls while it trains a network: losses, figures per epoch, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from stages.learning.batches import Batch
from stages.learning.layers import windowed
from stages.learning.schedules import Schedule


class Loop(lightning.LightningModule):
    """What Lightning calls: the loss of a batch, the optimiser, one row of figures per epoch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        names: Sequence[str],
        class_weight: Tensor,
        label_smoothing: float,
        augment: Callable[[Batch, Tensor], tuple[Batch, Tensor]],
        window: int | None,
        schedule: Schedule,
        weight_decay: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = nn.CrossEntropyLoss(class_weight, label_smoothing=label_smoothing)
        self.history: list[dict] = []
        self._names, self._n_classes = names, len(class_weight)
        self._augment, self._window = augment, window
        self._schedule, self._weight_decay = schedule, weight_decay
        self._seen: dict[str, list] = {"train": [], "validation": []}
        self._validated = {"validation_loss": math.nan, "validation_ua": math.nan}

    def _logits(self, part: str, batch: Batch, *, window: int | None) -> Tensor:
        logits = windowed(self.network, batch.features, batch.lengths, frames=window)
        # The history shows the plain loss of both parts: neither weighted nor of mixed targets.
        plain = nn.functional.cross_entropy(logits.detach(), batch.labels, reduction="sum")
        self._seen[part].append((plain, batch.labels, logits.argmax(dim=1)))
        return logits

    def training_step(self, batch: Batch, number: int) -> Tensor:
        targets = nn.functional.one_hot(batch.labels, self._n_classes).float()
        batch, targets = self._augment(batch, targets)
        loss = self.loss(self._logits("train", batch, window=None), targets)
        if not torch.isfinite(loss):
            clips = [str(self._names[clip]) for clip in batch.clips.tolist()]
            raise ValueError(
                f"epoch {self.current_epoch + 1}, batch {number + 1} of "
                f"{self.trainer.num_training_batches}: the loss is {loss.item()}; want a lower "
                f"train.lr, or other clips than {', '.join(clips)}"
            )
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        self._logits("validation", batch, window=self._window)

    def on_validation_epoch_end(self) -> None:
        self._validated = self._figures("validation")
        self.log_dict(self._validated)

    def on_train_epoch_end(self) -> None:
        # Lightning validates before it ends the training epoch, so both parts are complete here.
        row = {"epoch": self.current_epoch + 1, **self._figures("train"), **self._validated}
        self.history.append(row)
        # To TensorBoard alone: nothing watches them, and `log_dict` takes as long as a step does.
        trained = {name: value for name, value in row.items() if name.startswith("train")}
        self.logger.log_metrics(trained, step=self.global_step)

    def _figures(self, part: str) -> dict[str, float]:
        """Loss and UA of what was seen of a part since the last call."""
        losses, truth, guess = zip(*self._seen[part], strict=True)
        truth, guess = torch.cat(truth).cpu().numpy(), torch.cat(guess).cpu().numpy()
        self._seen[part].clear()
        number = np.bincount(truth, minlength=self._n_classes)
        found = np.bincount(truth[truth == guess], minlength=self._n_classes)
        ua = (found[number > 0] / number[number > 0]).mean()
        loss = float(torch.stack(losses).sum()) / len(truth)
        return {f"{part}_loss": loss, f"{part}_ua": float(ua)}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        features = {name: values.to(device) for name, values in batch.features.items()}
        return Batch(features, *(values.to(device) for values in batch[1:]))

    def configure_optimizers(self) -> dict:
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self._schedule.lr, weight_decay=self._weight_decay
        )
        return self._schedule.of(optimiser, steps=int(self.trainer.estimated_stepping_batches))


class Averaging(WeightAveraging):
    """A moving average of the weights over the steps, of all tensors at once.

    Lightning's own looks for the tensors anew at every step, which takes longer than averaging
    them, and leaves the average of a network on a GPU in the memory of the CPU.

    Parameters
    ----------
    decay : float
        share of the average that is kept at each step; less in the first steps, so that it is of
        the steps that there were
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay, self._steps = decay, 0
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    def on_train_start(self, _: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        average = self._average_model.module.to(pl_module.device)
        tensors = [
            (ours.detach(), theirs.detach())
            for ours, theirs in zip(_tensors(average), _tensors(pl_module), strict=True)
        ]
        for floating in (True, False):
            some = [pair for pair in tensors if pair[0].is_floating_point() == floating]
            self._pairs.append(([ours for ours, _ in some], [theirs for _, theirs in some]))

    def on_train_batch_end(self, *_: Any) -> None:
        (average, current), (counts, counted) = self._pairs
        steps = self._steps
        decay = min(self._decay, (1 + steps) / (10 + steps)) if steps else 0.0
        torch._foreach_copy_(average, torch._foreach_lerp(current, average, decay))
        if counts:  # of batches, by batch normalisation
            torch._foreach_copy_(counts, counted)
        self._steps += 1


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
