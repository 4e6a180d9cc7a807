"""Training batches made harder: other voices, clips mixed in pairs, noise, hidden stretches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid

from stages.learning.batches import Batch
from stages.learning.layers import valid_frames

_FEWEST_BANDS = 8  # features with fewer dimensions have no bands to mask


def warp(
    batch: Batch, warpers: Mapping[str, Callable[[float], np.ndarray]], *, share: float
) -> Batch:
    """Multiply each clip's frequencies by a factor of its own, as if another head spoke.

    Parameters
    ----------
    batch : Batch
    warpers : callable by feature
        see stages.acoustics.warper; a feature that is missing here is left as it is
    share : float
        most by which frequencies are raised, or by whose inverse they are lowered; 0: not at all

    References
    ----------
    Jaitly, Hinton: Vocal Tract Length Perturbation (VTLP) improves speech recognition, ICML
    workshop on deep learning for audio, speech and language processing, 2013
    """
    if not share:
        return batch
    factors = (1 + share) ** (2 * torch.rand(len(batch.lengths)) - 1)
    features = dict(batch.features)
    for name, matrix in warpers.items():
        clips = zip(features[name], factors.tolist(), strict=True)
        warped = [clip @ torch.from_numpy(matrix(factor)).to(clip).T for clip, factor in clips]
        features[name] = torch.stack(warped)
    return batch._replace(features=features)


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
