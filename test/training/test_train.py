"""Training: it lowers its loss, it resumes to the same numbers, and what it writes is what the engine loads."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines import EngineOptions, load_engine  # noqa: E402
from dkt_ros.engines.checkpoints import CheckpointError, load_weights  # noqa: E402
from dkt_ros.engines.completion import load_completion_model  # noqa: E402
from dkt_ros.training.recipe import parse_recipe  # noqa: E402
from dkt_ros.training.train import main, train  # noqa: E402
from test.training.recipes import PHASES, VALUES, toy_data  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, train(parse_recipe(VALUES, "toy"), data, out, cpu=True)


def column(out, name):
    with open(out / "log.csv", newline="") as file:
        return [float(row[3]) for row in csv.reader(file) if row[2] == name]


def test_the_loss_falls_in_both_phases(trained):
    total = column(trained[0], "total")
    assert len(total) == 40
    for values in (total[:12], total[12:]):
        assert np.mean(values[-5:]) < 0.85 * np.mean(values[:5])


def test_validation_is_by_the_protocols_of_the_evaluation(trained):
    out, trainer = trained
    assert len(column(out, "val_C.transparent.rel")) == 2, "at step 20 and at the end; not in the codec's phase"
    assert trainer.scores["step"] == 40
    for name in ("B.transparent.delta_1_25", "blind.B.transparent.delta_1_25", "normals.transparent.median_deg"):
        assert np.isfinite(column(out, f"val_{name}")).all() and len(column(out, f"val_{name}")) == 2
    assert (out / "pictures" / "validation_009000.png").stat().st_size > 10_000
    assert (out / "curves.png").stat().st_size > 10_000


def test_the_best_weights_are_kept_and_say_why(trained):
    out, trainer = trained
    scores = column(out, "val_C.transparent.rel")
    _, config = load_weights(out / "best.safetensors")
    assert config["best"]["number"] == "C.transparent.rel"
    assert config["best"]["value"] == pytest.approx(min(scores), rel=1e-5)
    assert config["steps"] == config["best"]["step"] == (20, 40)[int(np.argmin(scores))] == trainer.best[1]
    assert config["validation"]["C.transparent.rel"] == config["best"]["value"]


def test_the_engine_loads_what_training_wrote(trained):
    out, trainer = trained
    model = load_completion_model(out / "weights.safetensors")
    averaged = trainer.average.values
    assert all(
        torch.allclose(own, averaged[f"network.{name}"], rtol=2e-3, atol=2e-3) for name, own in model.named_parameters()
    )
    assert float(model.core.latents_std.std()) > 0, "the codec's latents were measured after its phase"
    card = load_engine("completion", EngineOptions(weights=out / "weights.safetensors", device="cpu")).card
    assert (card.licence, card.clip_lengths) == ("Apache-2.0", (1, 5))
    assert "40 steps of recipe toy" in card.description and "2 rendered sequences" in card.description
    config = load_weights(out / "weights.safetensors")[1]
    assert config["recipe"] == {"name": "toy", "hash": trainer.recipe.hash} and config["together"] is True
    assert (config["sequences"], config["skipped_files"]) == (2, 0)


def test_resuming_gives_the_numbers_of_a_run_that_was_never_stopped(data, trained, tmp_path):
    values = {**VALUES, "validation": {**VALUES["validation"], "pictures": 0}}
    first = {**values, "phases": [PHASES[0], {**PHASES[1], "steps": 11}]}
    train(parse_recipe(first), data, tmp_path, cpu=True)
    with open(tmp_path / "log.csv", "a") as log:
        log.write("24,completion,total,99\n25,comp")  # a crash after the last save, and a line cut short
    resumed = train(parse_recipe(values, "toy"), data, tmp_path, resume=True, cpu=True)
    whole = trained[1]
    assert resumed.step == whole.step == 40
    assert column(tmp_path, "total") == column(trained[0], "total")
    assert column(tmp_path, "val_C.transparent.rel")[-1] == column(trained[0], "val_C.transparent.rel")[-1]
    for name, value in whole.average.values.items():
        torch.testing.assert_close(resumed.average.values[name], value, rtol=0, atol=0)
    for name, value in whole._optimisers.state().items():
        torch.testing.assert_close(resumed._optimisers.state()[name], value, rtol=0, atol=0)


def test_a_changed_recipe_is_told_and_another_network_refused(data, trained, tmp_path, capsys):
    (tmp_path / "state.safetensors").write_bytes((trained[0] / "state.safetensors").read_bytes())
    train(parse_recipe({**VALUES, "save_every": 7}), data, tmp_path, resume=True, cpu=True)
    assert "changed since this run began: save_every" in capsys.readouterr().err
    sizes = VALUES["model"]
    wider = {**sizes, "transformer": {**sizes["transformer"], "ffn_dim": 48}}
    with pytest.raises(CheckpointError, match="another network than the recipe's"):
        train(parse_recipe({**VALUES, "model": wider}), data, tmp_path, resume=True, cpu=True)


def test_a_run_says_first_and_last_what_it_trains_on_and_what_it_skipped(tmp_path, capsys):
    toy_data(tmp_path)
    (tmp_path / "train" / "001002.tar").write_bytes(b"no tar" * 200)
    short = {**VALUES, "validate_every": 0, "phases": [{**PHASES[0], "steps": 1}]}
    train(parse_recipe(short), tmp_path, tmp_path / "out", cpu=True)
    assert capsys.readouterr().err.count("train: 2 sequences, 1 skipped\n") == 2
    config = load_weights(tmp_path / "out" / "weights.safetensors")[1]
    assert (config["sequences"], config["skipped_files"]) == (2, 1)


def test_the_end_names_the_result_and_a_command_that_scores_it(data, tmp_path, capsys):
    from dkt_ros.cli import main as dkt

    out, recipe = tmp_path / "my out", tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump({**VALUES, "phases": [{**PHASES[1], "steps": 2}]}))
    given = ["--recipe", str(recipe), "--data", str(data), "--out", str(out), "--cpu", "--resume"]
    assert main(given) == 0
    told = capsys.readouterr().err
    assert f"nothing to resume in {out}; begins at step 0" in told
    assert re.search(rf"result: {out}/best.safetensors \(C.transparent.rel [\d.e-]+ at step 2\)", told)
    command = shlex.split(re.search("score it: (.*)", told)[1])
    assert command[:2] == ["dkt", "eval"] and dkt([*command[1:], "--device", "cpu"]) == 0
    assert main(given) == 0
    assert "nothing to resume" not in capsys.readouterr().err


def test_without_a_deciding_number_the_end_points_to_the_weights_as_they_stand(data, tmp_path, capsys):
    nowhere = {"frames": 1, "pictures": 0, "limits": [90.0, 91.0]}  # no truth lies there, so nothing is scored
    values = {**VALUES, "validation": nowhere, "phases": [{**PHASES[1], "steps": 1}]}
    train(parse_recipe(values), data, tmp_path / "out", cpu=True)
    told = capsys.readouterr().err
    assert "best.safetensors is not written; take weights.safetensors" in told
    assert f"result: {tmp_path}/out/weights.safetensors (as they stand: C.transparent.rel never had a value" in told
    assert not (tmp_path / "out" / "best.safetensors").exists()


def test_a_finished_training_is_not_overwritten(data, trained):
    with pytest.raises(FileExistsError, match="--resume"):
        train(parse_recipe(VALUES), data, trained[0], cpu=True)


def test_a_warm_start_begins_where_the_weights_are(data, trained, tmp_path):
    weights = trained[0] / "weights.safetensors"
    tuning = {**PHASES[1], "steps": 1, "rate": [0.0, 0.0]}
    values = {**VALUES, "phases": [tuning], "start_from": str(weights), "validate_every": 0}
    warm = train(parse_recipe(values), data, tmp_path / "warm", cpu=True)
    stored = load_weights(weights)[0]
    for name, value in warm.task.module.network.state_dict().items():
        torch.testing.assert_close(value, stored[name].float(), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="take one of the same"):
        train(parse_recipe({**values, "start_from": "bundled"}), data, tmp_path / "other", cpu=True)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--cpu"]) == 1
    assert "the DIR of --data holds train/ and val/" in capsys.readouterr().err
    (tmp_path / "val").mkdir()
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--cpu"]) == 1
    assert "val: no sequences" in capsys.readouterr().err
    assert not Path(tmp_path / "out").exists()
