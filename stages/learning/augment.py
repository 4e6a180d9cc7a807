"""Training batches made harder: clips mixed in pairs, noise, hidden stretches and bands."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from stages.learning.batches import Batch
from stages.learning.layers import valid_frames

_FEWEST_BANDS = 8  # features with fewer dimensions have no bands to mask


def mixup(batch: Batch, targets: Tensor, *, alpha: float) -> tuple[Batch, Tensor]:
    """Mix each clip with another one of the batch, and its target likewise.

    A clip keeps its length, and its own part is the larger one: beyond the end of the other clip
    it stays alone.

    Parameters
    ----------
    batch : Batch
    targets : float [batch, classes]
        share of each class, as are those returned
    alpha : float
        of the beta distribution that the shares are drawn from; 0: nothing is mixed

    References
    ----------
    Zhang et al.: mixup: Beyond Empirical Risk Minimization, ICLR 2018
    """
    if not alpha:
        return batch, targets
    size = len(targets)
    share = _beta(alpha).sample((size,)).to(targets)
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(size).to(batch.lengths.device)
    both = torch.minimum(batch.lengths, batch.lengths[other])
    features = {}
    for name, values in batch.features.items():
        mixed = valid_frames(both, values.shape[1])[..., None] * (1 - share)[:, None, None]
        features[name] = torch.lerp(values, values.index_select(0, other), mixed)
    targets = torch.lerp(targets[other], targets, share[:, None])
    return batch._replace(features=features), targets


@lru_cache
def _beta(alpha: float) -> torch.distributions.Beta:
    """Kept, as it takes as long to make as to draw from."""
    return torch.distributions.Beta(alpha, alpha, validate_args=False)


def add_noise(batch: Batch, deviation: Mapping[str, Tensor], *, share: float) -> Batch:
    """Add normal noise to every feature.

    Parameters
    ----------
    batch : Batch
    deviation : float [dimensions] by feature
        of the training fold
    share : float
        standard deviation of the noise, as a share of the feature's; 0: none
    """
    if not share:
        return batch
    features = {}
    for name, values in batch.features.items():
        valid = valid_frames(batch.lengths, values.shape[1])[..., None].to(values.dtype)
        noise = torch.randn_like(values).mul_(share * deviation[name])
        features[name] = torch.addcmul(values, noise, valid)
    return batch._replace(features=features)


def spec_augment(
    batch: Batch, *, time_masks: int, time_frames: int, band_masks: int, band_share: float
) -> Batch:
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

    References
    ----------
    Park et al.: SpecAugment, Interspeech 2019
    """
    first = next(iter(batch.features.values()))
    clips, frames = first.shape[:2]
    hidden = _stretches(first, time_masks, (clips, frames), longest=time_frames)[:, :, None]
    features = {}
    for name, values in batch.features.items():
        dimensions = values.shape[2]
        number = band_masks if dimensions >= _FEWEST_BANDS else 0
        widest = round(band_share * dimensions)
        bands = _stretches(first, number, (clips, dimensions), longest=widest)[:, None]
        mean = values.sum(dim=1, keepdim=True) / batch.lengths[:, None, None]
        # Of weights 0 and 1, which is exact and takes a third of the time of torch.where.
        features[name] = torch.lerp(values, mean, hidden).lerp_(mean, bands)
    return batch._replace(features=features)


def _stretches(like: Tensor, number: int, size: tuple[int, int], *, longest: int) -> Tensor:
    """Some stretches in each of so many rows, at most so long: 1 within, else 0, float [size].

    They lie where `torchaudio.functional.mask_along_axis_iid` draws them, one after the other.
    """
    rows, places = size
    if not number or longest < 1:
        return like.new_zeros(size)
    length, start = torch.rand(number, 2, rows, 1, device=like.device).unbind(1)
    length = length * longest
    begin = (start * (places - length)).long()
    place = torch.arange(places, device=like.device)
    within = (place >= begin) & (place < begin + length.long())
    return within.any(dim=0).to(like.dtype)
