"""The benchmark of the path around the model walks the real path."""

import pytest

from benchmarks.node import WholePath, report
from benchmarks.stages import LATEST, LENGTH, OUTPUTS, STREAMING, make_scene


@pytest.mark.parametrize("fresh", [STREAMING, LATEST])
def test_the_whole_path_makes_every_message_of_every_fresh_frame(fresh):
    path = WholePath(make_scene(160, 96), fresh)
    assert path.clip(path.arriving(fresh)) == fresh
    assert len(path.made) == fresh * len(OUTPUTS) and None not in path.made
    stamps = [message.header.stamp.nanosec for message in path.made[:: len(OUTPUTS)]]
    assert len(set(stamps)) == fresh
    clouds = path.made[len(OUTPUTS) - 1 :: len(OUTPUTS)]
    assert all(cloud.point_step == 32 and cloud.width == 160 and cloud.height == 96 for cloud in clouds)


def test_the_table_has_a_line_for_every_stage_and_the_ratio_of_the_sums():
    lines = report(160, 96, 1, open3d=False)
    names = [line.split("  ")[0] for line in lines]
    for stage in ("trust*", "fit", "gate*", "fuse*", "confidence*", "normals", "sum"):
        assert stage in names
    assert sum(line.startswith("whole path") for line in lines) == 2
    total = next(line for line in lines if line.startswith("sum ")).split()
    assert float(total[-1]) == pytest.approx(float(total[-2]) / float(total[1]), rel=0.1)
    assert f"{STREAMING} of {LENGTH}" in lines[1]
    rows = {line[:26].strip(): line[26:].split() for line in lines[2:] if line[26:].strip()}
    demo = ("decode rgb8, 16UC1, info", "fit", "enlarge, to metres", "normals", "encode 5 images, info")
    ours, plain = (sum(float(rows[name][at]) for name in (*demo, "cloud, 32 bytes a point")) for at in (0, 3))
    assert float(rows["same steps"][0]) == pytest.approx(ours, abs=0.05)
    assert float(rows["same steps"][1]) == pytest.approx(plain, abs=0.5)
    assert rows["demo against all"][:2] == [total[1], rows["same steps"][1]]
    # Without open3d the plain normals are the bare ones.
    assert rows["same steps"] == rows["same steps, bare"]
