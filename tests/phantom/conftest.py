"""Studies that several tests look at, made once."""

import pytest


@pytest.fixture(scope="session")
def healthy():
    """A grown man without findings, devices or marker noise of his own."""
    from gen.phantom.study import make_study

    return make_study(11, sex="M", age=40, findings=[], devices=[])


@pytest.fixture(scope="session")
def shot(healthy):
    """His noiseless PA radiograph at 128 px."""
    return healthy.shoot("PA", 128, noise=False)
