"""Splits and standardisation of the datasets that come with scikit-learn, and of made-up ones."""

import hashlib
import json
import struct

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import StandardScaler

from study.base import params
from study.base.labelled import SPLITS
from study.data import classification
from study.data.classification import DATASETS, Raw, prepare
from study.data.params import ClassificationParams
from study.stages import classification as stage
from variance_dynamics.base.errors import BadInput

ORIGINAL = {"wine": load_wine(return_X_y=True), "digits": load_digits(return_X_y=True)}
embedded = pytest.mark.parametrize("name", ORIGINAL)


@pytest.fixture
def section(tree):
    return params.section(tree, "classification", ClassificationParams)


def made_up(monkeypatch, x, y, per_feature=True, test=0, classes=2):
    raw = Raw(np.asarray(x), np.asarray(y), classes=classes, per_feature=per_feature, test=test)
    monkeypatch.setitem(DATASETS, "made_up", lambda params: raw)
    return raw


@embedded
def test_every_row_is_in_one_split_with_its_label(section, name):
    x, y = ORIGINAL[name]
    splits, classes = prepare(name, section)
    rows = classification.split(name, DATASETS[name](section), section)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(x)))
    for part in SPLITS:
        np.testing.assert_array_equal(splits[f"y_{part}"], y[rows[part]])
    assert classes == len(set(y))
    assert {array.dtype.name for key, array in splits.items() if key[0] == "x"} == {"float32"}
    assert {array.dtype.name for key, array in splits.items() if key[0] == "y"} == {"int64"}


@embedded
def test_standardised_as_scikit_learn_does_on_the_training_split(section, name):
    x, _ = ORIGINAL[name]
    rows = classification.split(name, DATASETS[name](section), section)
    scaler = StandardScaler().fit(x[rows["train"]])
    splits, _ = prepare(name, section)
    for part in SPLITS:
        np.testing.assert_allclose(splits[f"x_{part}"], scaler.transform(x[rows[part]]), atol=1e-5, rtol=1e-5)


@embedded
def test_each_split_has_every_class_in_proportion(section, name):
    y = ORIGINAL[name][1]
    splits, classes = prepare(name, section)
    for part, share in (("val", section.val_fraction), ("test", section.test_fraction)):
        counts = np.bincount(splits[f"y_{part}"], minlength=classes)
        assert (np.abs(counts - share * np.bincount(y)) <= 0.5).all()


@embedded
def test_the_seed_decides(section, name):
    again = prepare(name, section)[0]
    other = prepare(name, section.model_copy(update={"seed": 1}))[0]
    for key, array in prepare(name, section)[0].items():
        np.testing.assert_array_equal(array, again[key])
        assert not np.array_equal(array, other[key])


def test_only_the_training_split_is_measured(section, monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    raw = made_up(monkeypatch, x, y)
    before = prepare("made_up", section)[0]["x_train"]
    held_out = classification.split("made_up", raw, section)
    x[held_out["val"]] *= 100
    x[held_out["test"]] *= 100
    np.testing.assert_array_equal(prepare("made_up", section)[0]["x_train"], before)


def test_images_are_standardised_by_one_mean_and_std_and_keep_their_test_set(section, monkeypatch):
    x = np.random.default_rng(0).integers(0, 256, (80, 5), dtype=np.uint8)
    x[:, 0] = 7  # a constant pixel
    y = np.arange(80) % 2
    raw = made_up(monkeypatch, x, y, per_feature=False, test=20)
    rows = classification.split("made_up", raw, section)
    assert sorted(rows["test"]) == list(range(60, 80))
    train = x[rows["train"]].astype(np.float64)
    splits, _ = prepare("made_up", section)
    expected = (x[rows["val"]].astype(np.float64) - train.mean()) / train.std()
    np.testing.assert_allclose(splits["x_val"], expected, rtol=1e-6)


def test_a_constant_feature_stays_finite(section, monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 2))
    x[:, 1] = 3.0
    made_up(monkeypatch, x, np.arange(40) % 2)
    splits, _ = prepare("made_up", section)
    assert not splits["x_train"][:, 1].any() and np.isfinite(splits["x_test"]).all()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0.0, 1.0], [np.nan, 1.0]], [0, 1], "made_up: feature 0 of row 1 is nan: expected a finite number"),
        ([[0.0, np.inf], [0.0, 1.0]], [0, 1], "feature 1 of row 0 is inf"),
        ([[0.0, 1.0], [0.0, 1.0]], [0, 2], "label of row 1 is 2: expected 0 to 1"),
        ([[0.0, 1.0], [0.0, 1.0]], [-1, 0], "label of row 0 is -1: expected 0 to 1"),
        ([[0.0, 1.0], [0.0, 1.0]], [0, 1], "class 0 has 1 rows, none in val"),
    ],
)
def test_data_that_is_wrong_is_refused_in_one_line(section, monkeypatch, x, y, message):
    made_up(monkeypatch, x, y)
    with pytest.raises(BadInput) as problem:
        prepare("made_up", section)
    assert message in str(problem.value) and "\n" not in str(problem.value)


def test_an_unknown_dataset(section):
    with pytest.raises(BadInput, match="has 'iris': expected one of wine, digits, mnist"):
        prepare("iris", section)


def test_the_stage_writes_the_same_bytes_twice(tmp_path, monkeypatch, request):
    (tmp_path / "params.yaml").write_bytes((request.config.rootpath / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    written = []
    for _ in range(2):
        stage.main()
        files = sorted((tmp_path / "data/classification").iterdir())
        written.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert written[0] == written[1]
    manifest = json.loads((tmp_path / "data/classification/manifest.json").read_text())
    assert list(manifest) == ["wine", "digits"]
    assert manifest["wine"]["sha256"] == written[0]["wine.npz"]
    assert sum(manifest["digits"][part] for part in SPLITS) == 1797


def test_other_images_under_a_name_of_params(section, tmp_path):
    """Six classes of one grey each, so that a row's label can be read from its pixels."""
    y = np.arange(120, dtype=np.uint8) % 6 + 1
    images = np.broadcast_to(y[:, None, None] * 10, (120, 28, 28)).astype(np.uint8)
    for part, rows in (("train", slice(0, 90)), ("t10k", slice(90, 120))):
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", y[rows])):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    named = section.model_copy(update={"idx": {"letters": str(tmp_path)}})
    splits, classes = prepare("letters", named)
    assert classes == 6 and [len(splits[f"y_{part}"]) for part in SPLITS] == [78, 12, 30]
    for part in SPLITS:
        greys = np.unique(np.stack([splits[f"x_{part}"][:, 0], splits[f"y_{part}"]]), axis=1)
        assert (np.diff(greys[0]) > 0).all() and greys[1].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(BadInput, match="expected one of wine, digits, mnist, letters"):
        prepare("iris", named)
    with pytest.raises(BadInput, match=r"classification\.idx has 'mnist': expected a name other than wine"):
        prepare("wine", section.model_copy(update={"idx": {"mnist": str(tmp_path)}}))
