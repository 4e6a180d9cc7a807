"""The training loop of one network: steps, figures of an epoch, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.learning.batches import Batch, TrainingBatches
from stages.learning.layers import windowed
from stages.learning.schedules import Schedule


class Loop:
    """Epochs of training and validation of one network, whose weights change in place.

    Written by hand, as a library's trainer costs 2 ms per step, a sixteenth of a step of a small
    network, and seconds and a quarter of a gigabyte in each process that imports it.

    Parameters
    ----------
    network : features, lengths -> logits
        on the device of the training
    names : sequence
        of the clips, by position, for messages
    class_weight : float [classes]
    label_smoothing, weight_decay : float
    gradient_clip : float
        largest norm of a step's gradient; 0: no limit
    average : float
        decay of the moving average of the weights, lower in the first steps, so that the average
        covers no more than these; 0: no average
    augment : batch, targets -> batch, targets
    targets : float32 [clips of the data, classes] or None
        see stages.learning.batches.ClipData
    window : int or None
        frames of a window of validation clips; see stages.learning.layers.windowed
    lr : float
        highest learning rate
    schedule : Schedule
    steps : int
        of the whole training
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        names: Sequence[object],
        class_weight: Tensor,
        label_smoothing: float,
        weight_decay: float,
        gradient_clip: float,
        average: float,
        augment: Callable[[Batch, Tensor], tuple[Batch, Tensor]],
        targets: np.ndarray | None,
        window: int | None,
        lr: float,
        schedule: Schedule,
        steps: int,
    ) -> None:
        self._network, self._weights = network, list(network.parameters())
        self._device = self._weights[0].device
        self._n_classes = len(class_weight)
        self._loss = nn.CrossEntropyLoss(class_weight, label_smoothing=label_smoothing)
        self._loss.to(self._device)
        self._optimiser = torch.optim.AdamW(
            parameter_groups(network, lr=lr), lr=lr, weight_decay=weight_decay, foreach=True
        )
        self._scheduler = schedule.scheduler(self._optimiser, steps=steps)
        self._average = _Average(network, average) if average else None
        self._gradient_clip = gradient_clip
        self._names, self._augment, self._window = names, augment, window
        self._targets = None if targets is None else torch.from_numpy(targets).to(self._device)
        self.epoch = self.step = 0

    def train(
        self, batches: TrainingBatches, *, on_share: Callable[[float], None]
    ) -> dict[str, float]:
        """Train for one epoch, and call a function with the share of it that is done.

        Returns
        -------
        dict
            train_loss, the plain cross-entropy without class weights and mixed targets, and
            train_ua

        Raises
        ------
        ValueError
            if the loss is not finite, naming epoch, batch and clips
        """
        self.epoch += 1
        self._network.train()
        outputs = []
        for number, batch in enumerate(batches, 1):
            batch = batch.to(self._device)
            if self._targets is None:
                targets = nn.functional.one_hot(batch.labels, self._n_classes).float()
            else:
                targets = self._targets[batch.clips]
            mixed, targets = self._augment(batch, targets)
            logits = self._network(mixed.features, mixed.lengths)
            loss = self._loss(logits, targets)
            if not math.isfinite(value := loss.item()):
                clips = [str(self._names[clip]) for clip in batch.clips.tolist()]
                raise ValueError(
                    f"epoch {self.epoch}, batch {number} of {len(batches)}: the loss is "
                    f"{value}; want a lower train.lr, or other clips than {', '.join(clips)}"
                )
            for weight in self._weights:  # the effect of zero_grad in a tenth of its time
                weight.grad = None
            loss.backward()
            if self._gradient_clip:
                nn.utils.clip_grad_norm_(self._weights, self._gradient_clip)
            self._optimiser.step()
            if self._average:
                self._average.update()
            if not isinstance(self._scheduler, ReduceLROnPlateau):
                self._scheduler.step()
            self.step += 1
            outputs.append((logits.detach(), batch.labels))
            on_share(number / len(batches))
        return self._figures("train", outputs)

    @torch.inference_mode()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Compute validation_loss and validation_ua with the present weights; NaN without clips."""
        self._network.eval()
        outputs = []
        for batch in batches:
            batch = batch.to(self._device)
            logits = windowed(self._network, batch.features, batch.lengths, frames=self._window)
            outputs.append((logits, batch.labels))
        figures = self._figures("validation", outputs)
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(figures["validation_loss"])
        return figures

    def averaged(self) -> AbstractContextManager[None]:
        """Give the network its averaged weights, if there are any, and then its own again."""
        return self._average.applied() if self._average else nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Copy the network's weights and buffers."""
        return {name: values.clone() for name, values in self._network.state_dict().items()}

    def _figures(self, part: str, outputs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Compute loss and UA from the logits and labels of all batches."""
        if not outputs:
            return {f"{part}_loss": math.nan, f"{part}_ua": math.nan}
        logits, labels = (torch.cat(tensors).cpu() for tensors in zip(*outputs, strict=True))
        truth, predicted = labels.numpy(), logits.argmax(dim=1).numpy()
        count = np.bincount(truth, minlength=self._n_classes)
        correct = np.bincount(truth[truth == predicted], minlength=self._n_classes)
        ua = (correct[count > 0] / count[count > 0]).mean()
        loss = nn.functional.cross_entropy(logits, labels)
        return {f"{part}_loss": float(loss), f"{part}_ua": float(ua)}


def parameter_groups(network: nn.Module, *, lr: float) -> list[dict[str, Any]]:
    """Group the weights of a network by learning rate.

    A network may have `lr_fractions`: fractions of `lr` by the beginning and the end of a weight's
    name. All other weights have `lr` itself.
    """
    fractions = getattr(network, "lr_fractions", {})
    groups: dict[float, list[Tensor]] = {}
    for name, weight in network.named_parameters():
        matches = [
            fraction
            for (begin, end), fraction in fractions.items()
            if name.startswith(begin) and name.endswith(end)
        ]
        groups.setdefault(matches[0] if matches else 1.0, []).append(weight)
    return [{"params": weights, "lr": lr * fraction} for fraction, weights in groups.items()]


class _Average:
    """A moving average of a network's weights and buffers over the steps, all tensors at once."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        tensors = [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
        self._current = [tensor for tensor in tensors if tensor.is_floating_point()]
        self._average = [tensor.clone() for tensor in self._current]

    def update(self) -> None:
        """Include the weights after a step; integer buffers, such as counts, are not averaged."""
        steps = self._steps
        decay = min(self._decay, (1 + steps) / (10 + steps)) if steps else 0.0
        torch._foreach_copy_(
            self._average, torch._foreach_lerp(self._current, self._average, decay)
        )
        self._steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average, and then its own weights again."""
        saved = [tensor.clone() for tensor in self._current]
        torch._foreach_copy_(self._current, self._average)
        try:
            yield
        finally:
            torch._foreach_copy_(self._current, saved)
