"""The support vector machine: its kernels, its limit, and what it keeps."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.svm import SVC

from stages.learning.batches import ClipData
from stages.learning.functionals import functionals
from stages.networks.svm import SVM
from stages.settings.loading import bind
from tests.support import composed

NOTHING = np.zeros(0, np.int64)


def ring(clips: int = 120, *, seed: int = 0) -> ClipData:
    """Clips whose class is how far they lie from the middle, which no plane separates."""
    random = np.random.default_rng(seed)
    angle, labels = random.uniform(0, 2 * np.pi, clips), np.arange(clips) % 3
    radius = 1.0 + 2.0 * labels + random.normal(scale=0.2, size=clips)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ClipData(
        caches={"place": points.astype(np.float16)},
        first=np.arange(clips),
        frames=np.ones(clips, np.int64),
        labels=labels,
        n_classes=3,
    )


def fitted(data: ClipData, *, train: np.ndarray, **settings) -> SVM:
    settings = {"kernel": "linear", "c": 1.0, "limit": None, "functionals": ["mean"]} | settings
    model = SVM(**settings)
    model.fit(data, train=train, validation=NOTHING, seed=0, logs=None, on_epoch=lambda: None)
    return model


def test_curved_kernels_tell_rings_apart_and_the_linear_one_does_not():
    data = ring()
    train, test = np.arange(80), np.arange(80, 120)
    correct = {
        kernel: (
            fitted(data, train=train, kernel=kernel).predict(data, test).argmax(1)
            == data.labels[test]
        ).mean()
        for kernel in ("linear", "polynomial", "rbf")
    }
    assert correct["linear"] < 0.7 and min(correct["polynomial"], correct["rbf"]) > 0.9


@pytest.mark.parametrize(("kernel", "name"), [("polynomial", "poly"), ("rbf", "rbf")])
def test_a_kernel_is_scikit_learn_s_on_standardised_and_limited_functionals(kernel, name):
    data, train = ring(), np.arange(90)
    vectors = functionals(data, np.arange(120), names=["mean"]).astype(float)
    scaled = (vectors - vectors[train].mean(0)) / vectors[train].std(0)
    scaled = scaled.clip(-1.2, 1.2)
    want = SVC(kernel=name, degree=2, gamma=0.5, coef0=1, C=2, class_weight="balanced")
    want.fit(scaled[train], data.labels[train])
    model = fitted(data, train=train, kernel=kernel, c=2.0, limit=1.2)
    got = model.predict(data, np.arange(120))
    margins = want.decision_function(scaled)
    np.testing.assert_allclose(got, softmax(margins, axis=1), atol=0.01)  # float32 in, float64 here
    state = model.state()
    assert {"mean", "scale", "classes", "support_vectors", "weight", "bias"} == set(state)
    kept = state["support_vectors"].numpy()
    distances = np.abs(kept[:, None] - scaled[train]).max(axis=2)
    assert state["weight"].shape == (2, len(kept)) and (distances.min(axis=1) < 1e-5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "cosine"}, r"model\.network\.kernel: got 'cosine', want linear, polynomial"),
        ({"c": 0}, r"model\.network\.c: got 0, want more than 0"),
        ({"limit": 0}, r"model\.network\.limit: got 0, want null or more than 0"),
    ],
)
def test_a_setting_out_of_its_range_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        bind(composed("model=svm")["model"]["network"] | change, "networks")()
