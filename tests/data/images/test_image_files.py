import os
from pathlib import Path

import pytest

from skipweave.data import list_images
from skipweave.data.images.image_files import walk_files
from tests.errors import raises


def test_images_are_listed_in_natural_order(tmp_path):
    names = ["img10.png", "img2.png", "IMG3.PNG", "1.jpg", "sub/a.png", "notes.txt", ".hidden.png", "b.jpeg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert found == ["1.jpg", "b.jpeg", "img2.png", "IMG3.PNG", "img10.png", "sub/a.png"]


def test_a_file_is_returned(tmp_path):
    (tmp_path / "photo").touch()
    assert list_images(tmp_path / "photo") == [tmp_path / "photo"]


def test_missing_images_and_folders_raise(tmp_path):
    with raises(tmp_path, ".jpg, .jpeg, .png"):
        list_images(tmp_path)
    with raises("nowhere"):
        list_images(Path("nowhere"))


def test_links_are_followed_except_cycles(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "1.png").touch()
    for number in range(3):
        (inner / f"up{number}").symlink_to(tmp_path)
    (inner / "self").symlink_to("self")
    (tmp_path / "a" / "side").symlink_to(inner)
    names = [str(path.relative_to(tmp_path)) for path in walk_files(tmp_path)]
    assert names == ["a/b/1.png", "a/b/self", "a/side/1.png", "a/side/self"]


def test_all_files_are_found_in_order(tmp_path):
    for name in ("b/2.png", "b/10.png", "a.png/x.txt", "z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to("nowhere")
    names = [str(path.relative_to(tmp_path)) for path in walk_files(tmp_path)]
    assert names == ["lost.png", "pipe.png", "z", "a.png/x.txt", "b/10.png", "b/2.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_locked_folder_raises(tmp_path):
    (tmp_path / "locked").mkdir(mode=0)
    with raises(tmp_path / "locked"):
        walk_files(tmp_path)


def test_a_removed_folder_raises(tmp_path):
    with raises(tmp_path / "gone"):
        walk_files(tmp_path / "gone")
