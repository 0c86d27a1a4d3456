"""Which images files, globs and folders name: links, folders that cannot be searched, and the output inside an input."""

import os

import pytest

from fastreg.batch.sources import expand


@pytest.fixture
def tree(tmp_path):
    """A set with an image and links: to the image, to a folder elsewhere, and back to the set."""
    for name in ("set/store/1.png", "elsewhere/2.png", "elsewhere/deep/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "set" / "val").mkdir()
    (tmp_path / "set" / "val" / "1.png").symlink_to("../store/1.png")
    (tmp_path / "set" / "linked").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../set")
    return tmp_path / "set"


ALL = ["linked/2.png", "linked/deep/3.png", "store/1.png", "val/1.png"]


def names(sources):
    return [source.relative.as_posix() for source in sources]


def test_links_are_entered_once_under_their_own_names(tree):
    assert names(expand([tree])) == ALL
    assert names(expand([str(tree / "**" / "*.png")])) == ALL
    assert names(expand([tree, tree / "val" / "1.png", tree / "val"])) == ALL  # the same names again


def test_links_and_folders_that_cannot_be_entered_are_sources_that_fail(tree, monkeypatch):
    (tree / "gone.png").symlink_to("nowhere.png")
    (tree / "around").symlink_to("..")
    assert names(expand([tree])) == ["around", "gone.png", *ALL]
    listdir = os.listdir

    def locked(path):
        if str(path).endswith("store"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", locked)
    assert "store" in names(expand([tree]))
    with pytest.raises(ValueError, match=r"cannot read the folder .*store: Permission denied"):
        expand([tree / "store"])


@pytest.mark.parametrize("source", ["", "*.png", "**/*.png"])
def test_the_output_is_left_out_if_it_lies_in_an_input(tmp_path, source):
    (tmp_path / "set" / "out").mkdir(parents=True)
    for name in ("set/a.png", "set/out/a.png"):
        (tmp_path / name).touch()
    pattern = str(tmp_path / "set" / source)
    assert names(expand([pattern], tmp_path / "set" / "out")) == ["a.png"]
    assert "a.png" in names(expand([pattern], tmp_path))  # here the input lies in the output
