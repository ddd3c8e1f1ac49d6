"""A plan drawn by Ray on this machine."""

import pytest

pytest.importorskip("ray")


@pytest.fixture
def cluster():
    """Two processors' worth of Ray, of this test alone."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_draws_the_same_images(one_thread, cxr_sample, draw_plan, make_plan, images, cluster, tmp_path):
    plan = make_plan(5)
    code, said, _ = draw_plan(plan, tmp_path / "ray", "--engine", "ray", "--workers", 2)
    assert code == 0 and "5 of 5 images of the plan" in said and "complete" in said
    assert cxr_sample("verify", tmp_path / "ray")[0] == 0
    draw_plan(plan, tmp_path / "one")
    assert images(tmp_path / "ray") == images(tmp_path / "one")
    code, _, err = draw_plan(plan, tmp_path / "ray", "--engine", "ray", "--workers", 2, "--steps", 3)
    assert code == 2 and "drawn with steps '2', now '3'" in err and err.splitlines()[-1].startswith("error: ")
