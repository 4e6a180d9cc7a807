"""Augmentation of training batches: mixup, noise, and masks over time and bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from stages.learning.batches import Batch
from stages.learning.layers import valid_frames
from stages.settings.checks import check

_FEWEST_BANDS = 8  # features with fewer dimensions have no bands to mask


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Settings of the augmentation, drawn anew for every batch; 0 turns each part off.

    Parameters
    ----------
    speed : float
        largest change of a clip's speed, as a share; applied where batches are cut, see
        stages.learning.batches.TrainingBatches
    mixup : float
        see `mixup`, alpha
    noise : float
        see `add_noise`, share
    time_masks, band_masks : int
        masks per clip, see `spec_augment`
    time_mask_s : float
        longest mask over time, in seconds
    band_share : float
        widest mask over bands, as a share of a feature's dimensions

    Raises
    ------
    ValueError
        naming a setting that is out of its range
    """

    speed: float
    mixup: float
    noise: float
    time_masks: int
    time_mask_s: float
    band_masks: int
    band_share: float

    def __post_init__(self) -> None:
        speed, share = self.speed, self.band_share
        check("train.augment.speed", speed, 0 <= speed < 1, "at least 0 and less than 1")
        for name in ("mixup", "noise", "time_masks", "time_mask_s", "band_masks"):
            value = getattr(self, name)
            check(f"train.augment.{name}", value, value >= 0, "at least 0")
        check("train.augment.band_share", share, 0 <= share <= 1, "a share from 0 to 1")

    def augment(
        self, batch: Batch, targets: Tensor, *, std: Mapping[str, Tensor], frame_rate: float
    ) -> tuple[Batch, Tensor]:
        """Mix clips, add noise and mask, in this order.

        Parameters
        ----------
        batch : Batch
        targets : float [batch, classes]
            share of each class, as are those returned
        std : float [dimensions] by feature
            standard deviations over the training fold
        frame_rate : float
            in Hz
        """
        batch, targets = mixup(batch, targets, alpha=self.mixup)
        batch = add_noise(batch, std, share=self.noise)
        batch = spec_augment(
            batch,
            time_masks=self.time_masks,
            time_frames=round(self.time_mask_s * frame_rate),
            band_masks=self.band_masks,
            band_share=self.band_share,
        )
        return batch, targets


def mixup(batch: Batch, targets: Tensor, *, alpha: float) -> tuple[Batch, Tensor]:
    """Mix each clip with another one of the batch, and its target likewise.

    A clip keeps its length and has the larger share of the mixture. Beyond the end of its partner
    it stays as it is.

    Parameters
    ----------
    batch : Batch
    targets : float [batch, classes]
        share of each class, as are those returned
    alpha : float
        both parameters of the beta distribution of the shares; 0: nothing is mixed

    References
    ----------
    Zhang et al.: mixup: Beyond Empirical Risk Minimization, ICLR 2018
    """
    if not alpha:
        return batch, targets
    size = len(targets)
    share = _beta(alpha).sample((size,)).to(targets)
    share = torch.maximum(share, 1 - share)
    partner = torch.randperm(size).to(batch.lengths.device)
    overlap = torch.minimum(batch.lengths, batch.lengths[partner])
    features = {}
    for name, values in batch.features.items():
        weight = valid_frames(overlap, values.shape[1])[..., None] * (1 - share)[:, None, None]
        features[name] = torch.lerp(values, values.index_select(0, partner), weight)
    targets = torch.lerp(targets[partner], targets, share[:, None])
    return batch._replace(features=features), targets


@lru_cache
def _beta(alpha: float) -> torch.distributions.Beta:
    """Return a beta distribution; cached, as its construction takes as long as a draw."""
    return torch.distributions.Beta(alpha, alpha, validate_args=False)


def add_noise(batch: Batch, std: Mapping[str, Tensor], *, share: float) -> Batch:
    """Add normal noise to every feature.

    Parameters
    ----------
    batch : Batch
    std : float [dimensions] by feature
        standard deviations over the training fold
    share : float
        standard deviation of the noise, as a share of the feature's; 0: none
    """
    if not share:
        return batch
    features = {}
    for name, values in batch.features.items():
        valid = valid_frames(batch.lengths, values.shape[1])[..., None].to(values.dtype)
        noise = torch.randn_like(values).mul_(share * std[name])
        features[name] = torch.addcmul(values, noise, valid)
    return batch._replace(features=features)


def spec_augment(
    batch: Batch, *, time_masks: int, time_frames: int, band_masks: int, band_share: float
) -> Batch:
    """Replace stretches of time and bands of each feature by the clip's own mean.

    Parameters
    ----------
    batch : Batch
    time_masks, band_masks : int
        masks per clip
    time_frames : int
        longest mask over time, in frames; all features are masked in the same frames
    band_share : float
        widest mask over bands, as a share of a feature's dimensions

    References
    ----------
    Park et al.: SpecAugment, Interspeech 2019
    """
    device = batch.lengths.device
    clips, frames = next(iter(batch.features.values())).shape[:2]
    time_mask = _masks(time_masks, (clips, frames), longest=time_frames, device=device)[:, :, None]
    features = {}
    for name, values in batch.features.items():
        dimensions = values.shape[2]
        count = band_masks if dimensions >= _FEWEST_BANDS else 0
        widest = round(band_share * dimensions)
        band_mask = _masks(count, (clips, dimensions), longest=widest, device=device)[:, None]
        mean = values.sum(dim=1, keepdim=True) / batch.lengths[:, None, None]
        # Weights of 0 and 1 make this exact, in a third of the time of torch.where.
        features[name] = torch.lerp(values, mean, time_mask).lerp_(mean, band_mask)
    return batch._replace(features=features)


def _masks(count: int, size: tuple[int, int], *, longest: int, device: torch.device) -> Tensor:
    """Draw `count` masks in each row, as `torchaudio.functional.mask_along_axis_iid` does.

    Returns
    -------
    float32 [size]
        1 where a mask lies, else 0
    """
    rows, places = size
    if not count or longest < 1:
        return torch.zeros(size, device=device)
    length, start = torch.rand(count, 2, rows, 1, device=device).unbind(1)
    length = length * longest
    begin = (start * (places - length)).long()
    place = torch.arange(places, device=device)
    masked = (place >= begin) & (place < begin + length.long())
    return masked.any(dim=0).float()
