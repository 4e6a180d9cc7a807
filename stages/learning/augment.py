"""Training batches made harder: clips mixed in pairs, noise, hidden stretches and bands."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid

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
    share = torch.distributions.Beta(alpha, alpha).sample((size,)).to(targets)
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(size).to(batch.lengths.device)
    both = torch.minimum(batch.lengths, batch.lengths[other])
    features = {}
    for name, values in batch.features.items():
        mixed = valid_frames(both, values.shape[1])[..., None] * (1 - share)[:, None, None]
        features[name] = torch.lerp(values, values[other], mixed)
    targets = torch.lerp(targets[other], targets, share[:, None])
    return batch._replace(features=features), targets


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
        valid = valid_frames(batch.lengths, values.shape[1])[..., None]
        noise = torch.randn_like(values) * (share * deviation[name])
        features[name] = values + noise * valid
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
    seen = first.new_ones(len(first), 1, 1, first.shape[1])
    for _ in range(time_masks):
        seen = mask_along_axis_iid(seen, time_frames, 0.0, 3)
    seen = seen[:, 0].transpose(1, 2)  # [batch, frames, 1]
    features = {}
    for name, values in batch.features.items():
        dimensions = values.shape[2]
        bands = values.new_ones(len(values), 1, dimensions, 1)
        if dimensions >= _FEWEST_BANDS:
            for _ in range(band_masks):
                bands = mask_along_axis_iid(bands, round(band_share * dimensions), 0.0, 2)
        keep = seen * bands[:, 0].transpose(1, 2)  # [batch, frames, dimensions]
        mean = values.sum(dim=1, keepdim=True) / batch.lengths[:, None, None]
        features[name] = torch.lerp(mean, values, keep)
    return batch._replace(features=features)
