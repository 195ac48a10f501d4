import pytest


@pytest.fixture(scope="session")
def camvid_root(real_data):
    """Folder of CamVid/ in the layout of SegNet."""
    if not (real_data / "CamVid").is_dir():
        pytest.skip(f"needs real data: {real_data} holds no CamVid/")
    return real_data
