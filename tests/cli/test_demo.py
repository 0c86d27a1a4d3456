"""The first restoration of a new user."""

from fastreg.io import images


def test_demo_writes_pictures_and_says_what_it_did(run, prior, tmp_path):
    code, out, _ = run("demo", "--output", tmp_path / "demo", "--prior", prior)
    assert code == 0
    assert "PSNR before" in out
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "original.png",
        "before.png",
        "after.png",
        "panel.png",
    }
    assert images.read(tmp_path / "demo" / "after.png").pixels.shape == (3, 384, 448)
