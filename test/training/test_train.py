"""Training: it lowers its loss, it resumes to the same numbers, and what it writes is what the engine loads."""

import csv
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.engines.completion import load_completion_model  # noqa: E402
from dkt_ros.training.data import SequencePool, draw_batch, draw_sample, validation_sample  # noqa: E402
from dkt_ros.training.losses import gradient_loss, normals_loss  # noqa: E402
from dkt_ros.training.recipe import load_recipe, parse_recipe  # noqa: E402
from dkt_ros.training.sequences import save_sequence, sequence_path  # noqa: E402
from dkt_ros.training.train import main, train  # noqa: E402
from dkt_ros.training.validation import relative_error  # noqa: E402
from test.engines.tiny import SIZES  # noqa: E402
from test.training.toy import toy_sequence  # noqa: E402

PHASES = [
    {"name": "codec", "trains": "codec", "steps": 12, "rate": [5e-3, 5e-3], "frames": {1: 1.0}},
    {"name": "completion", "trains": "all", "steps": 28, "rate": [3e-3, 3e-3], "frames": {1: 0.8, 5: 0.2}},
]
VALUES = {
    "seed": 1, "bf16": False, "validate_every": 20, "save_every": 10, "ema": 0.9, "weight_decay": 0.01,
    "model": SIZES, "phases": PHASES, "clips_per_step": {1: 4, 5: 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for part, seeds in (("train", (1000, 1001)), ("val", (9000,))):
        for seed in seeds:
            save_sequence(sequence_path(root / part, seed), toy_sequence(seed))
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, train(parse_recipe(VALUES), data, out)


def column(out, name):
    with open(out / "log.csv", newline="") as file:
        return [float(row[3]) for row in csv.reader(file) if row[2] == name]


def test_the_loss_falls_in_both_phases(trained):
    out, _ = trained
    total = column(out, "total")
    for values in (total[:12], total[12:]):
        assert np.mean(values[-5:]) < 0.85 * np.mean(values[:5])
    assert len(column(out, "total")) == 40 and len(column(out, "val_transparent")) == 2


def test_the_engine_loads_what_training_wrote(trained):
    out, trainer = trained
    model = load_completion_model(out / "weights.safetensors")
    own, averaged = model.state_dict(), trainer.average.state_dict()
    assert all(torch.allclose(own[name], averaged[name], rtol=2e-3, atol=2e-3) for name in own)
    assert float(model.core.latents_std.std()) > 0, "the codec's latents were measured after its phase"


def test_resuming_gives_the_numbers_of_a_run_that_was_never_stopped(data, trained, tmp_path):
    first = dict(VALUES, phases=[PHASES[0], {**PHASES[1], "steps": 14}])
    train(parse_recipe(first), data, tmp_path)
    resumed = train(parse_recipe(VALUES), data, tmp_path, resume=True)
    whole = trained[1]
    assert resumed.step == whole.step == 40
    assert column(tmp_path, "total") == column(trained[0], "total")
    for a, b in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_finished_training_is_not_overwritten(data, trained):
    with pytest.raises(FileExistsError, match="--resume"):
        train(parse_recipe(VALUES), data, trained[0])


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "dkt_ros.training.render" in capsys.readouterr().err


def test_the_bundled_recipe_is_the_bundled_engine():
    recipe = load_recipe("nano")
    assert recipe.model.codec["z_dim"] == 16 and recipe.at(0) == (0, 0)
    assert recipe.at(recipe.steps - 1)[0] == len(recipe.phases) - 1


def test_a_wrong_recipe_is_named():
    with pytest.raises(ValueError, match=r"unknown.*colour"):
        parse_recipe({**VALUES, "colour": 1})
    with pytest.raises(ValueError, match="phase codec trains 'decoder'"):
        parse_recipe({**VALUES, "phases": [{**PHASES[0], "trains": "decoder"}]})
    with pytest.raises(FileNotFoundError, match=r"bundled are:.*nano"):
        load_recipe("nonsense")


def test_a_draw_is_repeatable_and_differs_from_the_next(data):
    pool = SequencePool(data / "train")
    first, again, other = (draw_batch(pool, np.random.default_rng(seed), 5, 2) for seed in (1, 1, 2))
    assert torch.equal(first.condition.rgb, again.condition.rgb) and torch.equal(first.disparity, again.disparity)
    assert not torch.equal(first.condition.rgb, other.condition.rgb)


def test_filled_sensor_and_truth_are_in_the_same_units(data):
    """Where the sensor is trusted and nothing transparent stands, the filled sensor is the truth up to its noise."""
    sequence = SequencePool(data / "train").sequences[0]
    seen = 0
    for seed in range(20):
        sample = draw_sample(sequence, np.random.default_rng(seed), 5, (32, 48))
        if sample.has_sensor:
            safe = (sample.trust > 0) & ~sample.rim & ~sample.transparent
            assert np.median(np.abs(sample.filled - sample.disparity)[safe]) < 0.05
            seen += 1
    assert seen > 10


def test_without_a_sensor_nothing_of_it_leaks_into_the_input(data):
    sample = validation_sample(SequencePool(data / "val").sequences[0], 5, with_sensor=False)
    assert not sample.has_sensor and not sample.filled.any() and not sample.trust.any()
    assert (sample.wrong == 1).all() and sample.disparity.std() > 0.1


def test_a_mirrored_clip_mirrors_its_normals():
    sequence = toy_sequence(1)
    tilted = np.zeros_like(sequence.normals)
    tilted[..., 0], tilted[..., 2] = 0.6, -0.8
    sequence = dataclasses.replace(sequence, normals=tilted)
    signs = {
        float(np.sign(draw_sample(sequence, np.random.default_rng(s), 1, (32, 48)).normals[..., 0].mean()))
        for s in range(8)
    }
    assert signs == {1.0, -1.0}


def test_losses_vanish_on_the_truth_and_grow_with_the_error():
    truth = torch.randn(1, 3, 2, 8, 8)
    truth = truth / truth.norm(dim=1, keepdim=True)
    everywhere = torch.ones(1, 2, 8, 8)
    assert float(normals_loss(truth, truth, everywhere)) == pytest.approx(0, abs=1e-6)
    assert float(normals_loss(-truth, truth, everywhere)) > 2
    ramp = torch.arange(8.0).expand(1, 2, 8, 8)
    assert float(gradient_loss(ramp + 3, ramp, everywhere)) == 0
    assert float(gradient_loss(2 * ramp, ramp, everywhere)) == pytest.approx(1)


def test_the_validation_fit_undoes_any_scale_and_shift_and_ignores_outliers(data):
    sample = validation_sample(SequencePool(data / "val").sequences[0], 5)
    disparity = 3 * sample.inverse_depth - 2
    disparity[:, 5:8, 5:8] = 9
    error = relative_error(sample, disparity.astype(np.float32), np.ones(disparity.shape, bool))
    assert np.median(error) < 1e-4 and error[:, 5:8, 5:8].min() > 0.1
