"""From a waveform to logits in one module: level, features, normalisation and network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.audio.store import FULL_SCALE
from stages.learning.checkpoints import build_network, read_checkpoint, require_sections
from stages.learning.layers import window_frames, windowed
from stages.learning.model_facts import check_audio, chirp, explained
from stages.learning.speaker_head import SpeakerHead
from stages.settings.checks import check, named
from stages.settings.loading import bind
from stages.signals.spectra import check_waveform


class Recogniser(nn.Module):
    """A trained network with the level and the features that it was trained on.

    Parameters
    ----------
    network : nn.Module
        features, lengths -> logits; its input layer holds the normalisation
    features : waveform [batch, samples] -> [batch, dimensions, frames], by name
    labels : list of str
        one per logit, in their order
    sample_rate : int
        of the waveforms, in Hz
    level : rms, peak or none
    level_db : float
        see stages.audio.conditioning
    window : int or None
        frames of the windows to average; see stages.learning.layers.windowed
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        features: Mapping[str, Callable[[Tensor], Tensor]],
        labels: list[str],
        sample_rate: int,
        level: str,
        level_db: float,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels, self.sample_rate = labels, sample_rate
        self.features, self._window = dict(features), window
        self._level, self._target = level, 10.0 ** (level_db / 20)

    @property
    def head(self) -> SpeakerHead | None:
        """The last layer of a network that is calibrated to speakers, else None."""
        head = getattr(self.network, "classifier", None)
        return head if isinstance(head, SpeakerHead) else None

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the logits of waveforms of one length.

        Parameters
        ----------
        waveform : Tensor [batch, samples]
            mono, in [-1, 1]

        Returns
        -------
        Tensor [batch, labels]

        Raises
        ------
        ValueError
            if the waveform is empty or not finite
        """
        check_waveform(waveform)
        return self.logits(self._levelled(waveform))

    def answer(
        self, waveform: Tensor, speaker: tuple[NDArray, NDArray] | None
    ) -> tuple[Tensor, Tensor]:
        """Compute logits [batch, labels] and vectors [batch, dimensions] of waveforms.

        Parameters
        ----------
        waveform : Tensor [batch, samples]
            see `forward`
        speaker : two arrays [dimensions], or None
            mean and standard deviation of the voice; None: those of the average voice. The vectors
            are empty, and speakers are not heeded, unless the network is calibrated
        """
        logits = self(waveform)
        if self.head is None:
            return logits, logits[:, :0]
        if speaker is not None:
            logits = self.head.for_voice(*speaker)
        return logits, self.head.vectors

    def logits(self, waveform: Tensor) -> Tensor:
        """Compute the logits of waveforms that have their level, as segments of a recording do."""
        return self._classified({name: f(waveform) for name, f in self.features.items()})

    def _classified(self, found: Mapping[str, Tensor]) -> Tensor:
        features = {name: values.transpose(1, 2) for name, values in found.items()}
        first = next(iter(features.values()))  # [batch, frames, dimensions]
        lengths = torch.full(
            first.shape[:1], first.shape[1], dtype=torch.int64, device=first.device
        )
        return windowed(self.network, features, lengths, frames=self._window)

    @torch.inference_mode()
    def check(self, inputs: Mapping[str, int]) -> None:
        """Recognise a second of sound, to see whether settings and weights fit each other.

        Parameters
        ----------
        inputs : dimensions by feature
            that the network was built for

        Raises
        ------
        ValueError
            naming the feature or the network that fails
        """
        sound = chirp(self.sample_rate).astype(np.float32) / np.float32(FULL_SCALE)
        waveform = self._levelled(torch.from_numpy(sound)[None])
        found = {}
        for name, feature in self.features.items():
            with explained(f"features.{name}", "settings that compute a feature"):
                found[name] = feature(waveform)
                size, want = found[name].shape[-2], inputs.get(name)
                check("dimensions", size, size == want, f"{want}, as inputs say")
        with explained("model.network", "settings that fit the features"):
            logits = self._classified(found)
            fine = logits.shape == (1, len(self.labels))
            check("logits", list(logits.shape), fine, f"one of {len(self.labels)} labels")
            check("logits", logits.tolist(), bool(logits.isfinite().all()), "finite numbers")

    def _levelled(self, waveform: Tensor) -> Tensor:
        """Apply the gain of the `prepare` stage; a waveform of zeros stays as it is."""
        if self._level == "none":
            return waveform
        peak = waveform.abs().amax(dim=1, keepdim=True).clamp_min(1e-9)
        mean = waveform.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-9)
        gain = self._target / (mean if self._level == "rms" else peak)
        gain = torch.minimum(gain, 1 / peak)
        # A clip of the audio store has its level already, but for rounding to 16 bits.
        return waveform * torch.where((gain - 1).abs() < 1e-4, torch.ones_like(gain), gain)


def load_recogniser(path: str | Path) -> tuple[Recogniser, dict]:
    """Build the recogniser that a checkpoint of the `train` stage describes, ready to predict.

    Parameters
    ----------
    path : path
        models/folds/<job>.pt

    Returns
    -------
    Recogniser
        in evaluation mode
    dict
        settings of app.windows.read_windows for files to recognise: those of the training, without
        segments

    Raises
    ------
    FileNotFoundError
        naming the command that writes the file
    ValueError
        if the file is not a checkpoint of a network, or naming the file and the key whose value is
        missing, out of its range, or does not fit the others
    """
    checkpoint = read_checkpoint(path)
    with named(path):
        network = build_network(checkpoint)
        if network is None:
            name = checkpoint["model"]["name"]
            raise ValueError(f"holds {name}, want a network, not a classical model")
        require_sections(checkpoint, "audio", "features", "train")
        try:
            audio = check_audio(checkpoint["audio"])
        except ValueError as error:
            raise ValueError(f"{error}; train again with `dvc repro`") from error
        features = {}
        for name, settings in checkpoint["features"].items():
            with named(f"features.{name}"):
                features[name] = bind(settings, "acoustics")
        recogniser = Recogniser(
            network,
            features=features,
            labels=checkpoint["labels"],
            sample_rate=audio["sample_rate"],
            level=audio["level"],
            level_db=audio["level_db"],
            window=window_frames(checkpoint["train"]),
        ).eval()
        recogniser.check(checkpoint["inputs"])
    return recogniser, audio
