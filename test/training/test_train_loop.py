"""The loop's inside: recipes, accumulation, averages, optimisers, gradients that are not finite."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.training import trainer as trainer_module  # noqa: E402
from dkt_ros.training.averaging import Average  # noqa: E402
from dkt_ros.training.curves import draw_curves, read_log  # noqa: E402
from dkt_ros.training.drawing import moved  # noqa: E402
from dkt_ros.training.optimisers import Optimisers  # noqa: E402
from dkt_ros.training.processes import compute_less_memory, slots_of  # noqa: E402
from dkt_ros.training.recipe import RECIPES, Optimiser, load_recipe, parse_recipe  # noqa: E402
from dkt_ros.training.sequences import save_sequence  # noqa: E402
from dkt_ros.training.tasks import Group  # noqa: E402
from dkt_ros.training.trainer import Diverged, Trainer  # noqa: E402
from dkt_ros.training.validation import NUMBERS, Outcome, Validator, better  # noqa: E402
from test.engines.tiny import tiny_model  # noqa: E402
from test.training.recipes import PHASES, VALUES, toy_data  # noqa: E402
from test.training.toy import toy_sequence  # noqa: E402

QUIET = {**VALUES, "validate_every": 0, "phases": [PHASES[1]]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("data"))


def weights(trainer):
    return {name: parameter.detach().clone() for name, parameter in trainer.trainable.items()}


# --- recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_recipe_can_be_read(path):
    recipe = load_recipe(path.stem)
    assert recipe.name == path.stem and recipe.at(0) == (0, 0)
    assert recipe.at(recipe.steps - 1)[0] == len(recipe.phases) - 1
    assert recipe.validation.best in NUMBERS


def test_a_wrong_recipe_is_named(tmp_path):
    for change, message in (
        ({"colour": 1}, r"unknown \['colour'\]; known are .*'seed'"),
        ({"optimiser": {"beta": 1}}, r"optimiser: unknown \['beta'\]"),
        ({"optimiser": {"eps": "tiny"}}, "optimiser: eps 'tiny': expected a number"),
        ({"optimiser": {"betas": [0.9]}}, r"optimiser: betas \[0.9\]: expected 2 numbers"),
        ({"validation": {"frames": 2.5}}, "validation: frames 2.5: expected a whole number"),
        ({"precision": "float16"}, "precision 'float16': one of"),
        ({"accumulate": 0}, "accumulate 0: at least 1"),
        ({"ema": 1.0}, "ema 1.0"),
        ({"ema": "x"}, "ema 'x': expected a number, such as"),
        ({"ema": True}, "ema True: expected a finite number"),
        ({"seed": 1.5}, "seed 1.5: expected a whole number"),
        ({"checkpointing": "on"}, "checkpointing 'on': expected true or false"),
        ({"data": None}, "data: None is no table"),
        ({"validation": 3}, "validation: 3 is no table"),
        ({"phases": 3}, "phases: 3 is no list"),
        ({"phases": ["flow"]}, "phases: 'flow' is no table"),
        ({"phases": [{**PHASES[0], "steps": "many"}]}, "phase codec: steps 'many': expected a number"),
        ({"phases": [{**PHASES[0], "steps": None}]}, "phase codec: steps None: expected a number"),
        ({"phases": [{**PHASES[0], "rate": 1e-4}]}, "phase codec: rate 0.0001: expected 2 numbers"),
        ({"phases": [{"name": "one", "steps": 3}]}, r"phase one: missing \['rate'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_recipe({**VALUES, **change})
    assert parse_recipe({**VALUES, "optimiser": {"eps": "1e-8"}}).optimiser.eps == 1e-8, "a word for YAML"
    assert parse_recipe({**VALUES, "phases": [{**PHASES[0], "steps": "1e3"}]}).steps == 1000, "as well"
    with pytest.raises(ValueError, match=r"missing \['seed'\]"):
        parse_recipe({key: value for key, value in VALUES.items() if key != "seed"})
    with pytest.raises(FileNotFoundError, match=r"bundled are:.*nano"):
        load_recipe("nonsense")
    (tmp_path / "broken.yaml").write_text("task: [nano")
    with pytest.raises(ValueError, match=r"broken.yaml: not YAML"):
        load_recipe(tmp_path / "broken.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "dream"}, "task 'dream': no such task; choose one of .*nano"),
        ({"phases": [{**PHASES[0], "trains": "decoder"}]}, "phase codec trains 'decoder'"),
        ({"data": {"clips_per_step": {1: 1}}}, "each with its number in clips_per_step"),
        ({"phases": [{**PHASES[0], "frames": {9: 1.0}}], "data": {"clips_per_step": {9: 1}}}, "its sequences have 5;"),
        ({"lora": {"rank": 4}}, r"lora: unknown \['rank'\]"),
        ({"checkpointing": True, "model": VALUES["model"]}, None),
        ({"validation": {"best": "C.glass.rel"}, "validate_every": 5}, "must be one of C.transparent.rel"),
    ],
)
def test_a_recipe_that_its_task_does_not_understand_is_refused(data, tmp_path, change, message):
    recipe = parse_recipe({**QUIET, **change})
    if message is None:
        assert Trainer(recipe, data, tmp_path, cpu=True).advance()["total"] > 0
    else:
        with pytest.raises(ValueError, match=message):
            Trainer(recipe, data, tmp_path, cpu=True)


def test_processes_share_the_batches_of_a_step_or_are_refused():
    recipe = parse_recipe({**VALUES, "accumulate": 6}, "shared")
    assert [list(slots_of(recipe, process, 3)) for process in range(3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match="accumulate is 6, which 4 processes cannot share evenly"):
        slots_of(recipe, 0, 4)


def test_a_trial_visits_every_phase():
    recipe = load_recipe("nano")
    short = recipe.shortened(7)
    assert short.steps == 7 and all(phase.steps >= 1 for phase in short.phases) and short.hash == recipe.hash
    with pytest.raises(ValueError, match="3 phases"):
        recipe.shortened(2)


def test_the_hash_is_of_the_content():
    recipe = parse_recipe(VALUES, "one")
    assert recipe.hash == parse_recipe(dict(reversed(VALUES.items())), "another").hash
    assert recipe.hash != parse_recipe({**VALUES, "seed": 2}, "one").hash


# --- steps


def test_the_gradient_is_the_mean_over_accumulated_batches(data, tmp_path):
    def gradients(accumulate):
        one = Trainer(parse_recipe({**QUIET, "accumulate": accumulate}), data, tmp_path, cpu=True)
        one._differentiate()
        return one, {name: parameter.grad for name, parameter in one.trainable.items() if parameter.grad is not None}

    whole, both = gradients(2)
    _, first = gradients(1)
    name = "network.core.transformer.proj_out.weight"
    assert not torch.allclose(both[name], first[name])
    whole.task.module.zero_grad()
    for slot in (0, 1):
        torch.manual_seed(0)
        batch = whole.task.draw(np.random.default_rng([whole.recipe.seed, 0, slot]), 0)
        (whole.task.module(batch)["total"] / 2).backward()
    torch.testing.assert_close(whole.trainable[name].grad, both[name])


def test_recomputed_activations_give_the_same_step(data, tmp_path):
    rows = []
    for checkpointing in (False, True):
        one = Trainer(parse_recipe({**QUIET, "checkpointing": checkpointing}), data, tmp_path, cpu=True)
        rows.append([one.advance()["total"] for _ in range(2)])
        assert one.task.module.network.core.transformer.gradient_checkpointing is checkpointing
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)
    with pytest.raises(ValueError, match="nothing in Linear can"):
        compute_less_memory(torch.nn.Linear(1, 1))


def test_under_autocast_parameters_and_optimiser_stay_float32(data, tmp_path):
    one = Trainer(parse_recipe({**QUIET, "precision": "bfloat16"}), data, tmp_path, cpu=True)
    exact = Trainer(parse_recipe(QUIET), data, tmp_path, cpu=True)
    rough, fine = one.advance(), exact.advance()
    assert rough["total"] != fine["total"] and rough["total"] == pytest.approx(fine["total"], rel=0.1)
    tensors = [*weights(one).values(), *one._optimisers.state().values(), *one.average.values.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_gradients_that_are_not_finite_change_nothing_and_are_counted(data, tmp_path, monkeypatch):
    one = Trainer(parse_recipe(QUIET), data, tmp_path, cpu=True)
    one.advance()
    hurt = one.trainable["network.core.transformer.proj_out.bias"]
    with torch.no_grad():
        kept = hurt.clone()
        hurt.fill_(float("nan"))
    before = weights(one)
    row = one.advance()
    assert row["skipped"] == one.skipped == 1 and not np.isfinite(row["gradient_norm"])
    after = weights(one)
    assert all(torch.equal(before[name], after[name]) for name in before if before[name].isfinite().all())
    with torch.no_grad():
        hurt.copy_(kept)
    assert np.isfinite(one.advance()["gradient_norm"]) and one.skipped == 1
    assert not torch.equal(
        weights(one)["network.core.transformer.proj_out.weight"], before["network.core.transformer.proj_out.weight"]
    )
    with torch.no_grad():
        hurt.fill_(float("nan"))
    monkeypatch.setattr(trainer_module, "HOPELESS", 2)
    one.advance()
    with pytest.raises(Diverged, match="2 steps up to 5 are not finite"):
        one.advance()


# --- averages, optimisers, batches


def test_the_average_follows_and_takes_the_place_of_the_parameters():
    parameter = torch.nn.Parameter(torch.zeros(3))
    average = Average({"p": parameter}, keep=0.9)
    with torch.no_grad():
        parameter.fill_(1.0)
    average.follow(step=1)
    torch.testing.assert_close(average.values["p"], torch.full((3,), 1 - 2 / 11))
    average.follow(step=10_000)
    torch.testing.assert_close(average.values["p"], torch.full((3,), 1 - 0.9 * 2 / 11))
    with average.in_place():
        assert 0.8 < float(parameter[0]) < 0.9
    assert float(parameter[0]) == 1.0
    without = Average({"p": parameter}, keep=0.0)
    with without.in_place():
        assert float(parameter[0]) == 1.0
    assert not without.values


def test_every_trainable_parameter_has_one_optimiser():
    model = tiny_model()
    named = dict(model.named_parameters())
    numbers = Optimiser()
    with pytest.raises(ValueError, match="belongs to one group"):
        Optimisers([Group(dict(list(named.items())[1:]))], named, numbers)
    with pytest.raises(ValueError, match="belongs to one group"):
        Optimisers([Group(named), Group(named)], named, numbers)
    with pytest.raises(ValueError, match="'sgd': must be 'adamw' or 'muon'"):
        Optimisers([Group(named, "sgd")], named, numbers)
    half = {"p": torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))}
    with pytest.raises(ValueError, match=r"must be float32.*'p'"):
        Optimisers([Group(half)], half, numbers)


def test_a_group_has_its_own_rate():
    fast, slow = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    groups = [Group({"fast": fast}), Group({"slow": slow}, rate=0.1)]
    optimisers = Optimisers(groups, {"fast": fast, "slow": slow}, Optimiser(weight_decay=0.0))
    fast.grad = slow.grad = torch.ones(1)
    optimisers.step(rate=1e-2)
    assert float(fast) == pytest.approx(-1e-2, rel=1e-3) and float(slow) == pytest.approx(-1e-3, rel=1e-3)


def test_a_batch_is_moved_whatever_it_is_made_of(data, tmp_path):
    one = Trainer(parse_recipe(QUIET), data, tmp_path, cpu=True)
    batch = one.task.draw(np.random.default_rng(1), 0)
    there = moved({"one": [batch, (1, "two")]}, torch.device("meta"))["one"]
    assert there[0].batch.condition.rgb.is_meta and there[0].batch.normals.is_meta and there[1] == (1, "two")
    assert type(there[0].batch.condition) is type(batch.batch.condition)
    assert dataclasses.is_dataclass(there[0]) and there[0].chosen is None


# --- validation and curves


def test_only_what_a_sequence_has_enters_the_mean_and_the_rest_is_counted():
    outcome = Outcome()
    outcome.add({"A.all.rel": 1.0, "B.transparent.rel": None})
    outcome.add({"A.all.rel": 2.0, "B.transparent.rel": 4.0, "C.opaque.rel": float("nan")})
    means = outcome.means()
    assert means.pop("B.transparent.rel.unscored") == 1 and means.pop("C.opaque.rel.unscored") == 2
    assert {name: mean for name, mean in means.items() if not name.endswith(".unscored")} == {
        "A.all.rel": 1.5,
        "B.transparent.rel": 4.0,
    }
    assert "A.all.rel.unscored" not in means


def test_what_is_better_depends_on_the_number():
    assert better("C.transparent.rel", 0.1, 0.2) and not better("C.transparent.rel", 0.3, 0.2)
    assert better("B.transparent.delta_1_25", 0.9, 0.8) and better("anything", 5.0, None)


def test_held_out_sequences_are_not_for_choosing_weights(data, tmp_path):
    settings = parse_recipe(VALUES).validation
    other = tmp_path / "009500.tar"  # as the published set may well name one: no seed of ours
    other.write_bytes((data / "val" / "009000.tar").read_bytes())
    assert Validator(tmp_path, settings).files == [other]
    save_sequence(tmp_path / "renamed.tar", toy_sequence(9500))
    with pytest.raises(ValueError, match=r"renamed.tar: seed 9500 is held out"):
        Validator(tmp_path, settings)


def test_curves_are_drawn_from_the_first_step_on(tmp_path):
    (tmp_path / "log.csv").write_text("1,codec,total,0.5\n1,codec,rate,0.1\n")
    log = read_log(tmp_path / "log.csv")
    assert log["total"] == [(1, 0.5)] and log["phase codec"] == [(1, 0.0)]
    draw_curves(log, tmp_path / "curves.png", "one step")
    assert (tmp_path / "curves.png").stat().st_size > 5000
