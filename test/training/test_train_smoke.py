"""Every bundled recipe runs: its own values, a tiny base, a few steps; resumed, saved, loaded by ``--weights``."""

import shutil

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'dkt_ros[train]'")
pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines import EngineOptions, load_engine  # noqa: E402
from dkt_ros.engines.checkpoints import load_weights  # noqa: E402
from dkt_ros.evaluation.recordings import load_recording  # noqa: E402
from dkt_ros.perception import Perception  # noqa: E402
from dkt_ros.training.recipe import RECIPES, parse_recipe  # noqa: E402
from dkt_ros.training.sequences import sequence_path  # noqa: E402
from dkt_ros.training.trainer import STATE, WEIGHTS, Trainer  # noqa: E402
from test.training.recipes import VALUES, toy_data  # noqa: E402
from test.training.tiny_bases import smoke  # noqa: E402

ENGINES = {"nano": "completion", "dkt": "dkt", "dkt_c": "dkt", "dvd": "dvd", "dvd_c": "dvd"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_recipe_runs_resumes_and_its_result_is_an_engine(name, data, tmp_path):
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    if name == "nano":
        changed, base = {"model": VALUES["model"]}, []
    else:
        changed, base = smoke(name, tmp_path / "base")
        changed = {"model": {**values["model"], "size": [48, 32]}, **changed}
        if "normal" not in name:  # engines for depth refuse it without its adapters
            shutil.rmtree(base[0] / "normal", ignore_errors=True)
    validation = {**values.get("validation", {}), "frames": 1, "sequences": 1, "pictures": 0}
    recipe = parse_recipe({**values, **changed, "validation": validation, "validate_every": 50}, name)
    recipe = recipe.shortened(max(2, len(recipe.phases)))

    def trainer():
        return Trainer(recipe, data, tmp_path / "out", tuple(base), cpu=True)

    whole = trainer()
    first = whole.advance()
    whole.save()
    rest = [whole.advance() for _ in range(1, recipe.steps)]
    assert all(np.isfinite(row["total"]) and row["gradient_norm"] > 0 for row in (first, *rest))
    assert whole.skipped == 0
    resumed = trainer()
    assert resumed.load(tmp_path / "out" / STATE) == [] and resumed.step == 1
    assert [resumed.advance() for _ in rest] == rest, "bit for bit"

    resumed.validate()
    # Tiny random networks may see near and far swapped, and such fits are refused and counted.
    assert resumed.scores["step"] == recipe.steps and {"A.all.rel", "A.all.rel.unscored"} & resumed.scores.keys()
    resumed.save()
    _, config = load_weights(tmp_path / "out" / WEIGHTS)
    assert config["recipe"] == {"name": name, "hash": recipe.hash} and config["steps"] == recipe.steps
    assert config["description"] and config["licence"] and config["clip_lengths"] and config["sequences"] == 2
    weights = (*base, tmp_path / "out" / WEIGHTS)
    engine = load_engine(ENGINES[recipe.task], EngineOptions(weights=weights, device="cpu"))
    recording = load_recording(sequence_path(data / "val", 9000))
    estimates = list(Perception(engine).run_recording(lambda: recording.frames[:1]))
    assert estimates[0].disparity.shape == recording.frames[0].rgb.shape[:2]
    assert np.isfinite(estimates[0].disparity).all()
