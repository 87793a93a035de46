"""Weight files: what is written comes back, and what is foreign or damaged is refused by name."""

import os
import pickle

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.engines.checkpoints import CheckpointError, fill_module, load_weights, save_weights  # noqa: E402


def linear():
    torch.manual_seed(1)
    return torch.nn.Linear(3, 2)


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, linear().state_dict(), {"sizes": {"z": 4}})
    tensors, config = load_weights(path)
    assert config == {"sizes": {"z": 4}}
    other = torch.nn.Linear(3, 2)
    fill_module(other, tensors, path)
    torch.testing.assert_close(other.weight, linear().weight, rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_precision_is_read_back_as_float32(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, linear().state_dict(), {}, half=True)
    tensors, _ = load_weights(path)
    assert tensors["weight"].dtype == torch.float16
    other = torch.nn.Linear(3, 2)
    fill_module(other, tensors, path)
    assert other.weight.dtype == torch.float32
    torch.testing.assert_close(other.weight, linear().weight, rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_half_precision_is_not_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"weight does not fit float16"):
        save_weights(tmp_path / "a.safetensors", {"weight": torch.tensor([1e6])}, {}, half=True)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.safetensors"):
        load_weights(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("name", ["model.pth", "renamed.safetensors"])
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(CheckpointError, match=f"{name}.*pickle.*save_file"):
        load_weights(path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_a_file_has_the_mode_that_the_umask_gives(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_weights(tmp_path / "a.safetensors", linear().state_dict(), {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


def test_a_torch_file_is_refused_even_under_another_name(tmp_path):
    path = tmp_path / "renamed.safetensors"
    torch.save(linear().state_dict(), path)
    with pytest.raises(CheckpointError, match=r"pickle"):
        load_weights(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "a.safetensors"
    save_weights(path, linear().state_dict(), {})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"a.safetensors.*truncated"):
        load_weights(path)


def test_someone_elses_safetensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(linear().state_dict(), tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign.safetensors.*not a checkpoint of this package"):
        load_weights(tmp_path / "foreign.safetensors")


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match=r"1 tensors missing.*bias"):
        fill_module(linear(), {"weight": torch.zeros(2, 3)}, "file")
    with pytest.raises(CheckpointError, match=r"weight is \(3, 3\)"):
        fill_module(linear(), {"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, "file")
