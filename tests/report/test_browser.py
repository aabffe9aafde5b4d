"""The page in a real browser, Chromium without a window: `pytest -m browser`."""

from dataclasses import replace

import numpy as np
import pytest

from keras_unet3d.report.charts import curves, histogram, shares
from keras_unet3d.report.page import Page, html
from keras_unet3d.report.scene import NOTHING, Scene, Side

pytestmark = pytest.mark.browser

SHAPE = (6, 8, 10)


def a_scene(name: str, networks: int = 1) -> Scene:
    """Return a volume whose grey values tell their z; class 1 is labelled for x of 5 and more, and predicted for x of 4 and more."""
    z, _, x = np.indices(SHAPE)
    labels, classes = (x >= 5).astype(np.uint8), (x >= 4).astype(np.uint8)
    labels[0] = NOTHING
    uncertainty = np.full(SHAPE, 51, np.uint8)
    sides = [Side(f"network {number}", classes, uncertainty, classes) for number in range(networks)]
    return Scene(name, (z * 40).astype(np.uint8), labels, tuple(sides), labels, spacing=(2, 1, 1), step=(1, 1, 2))


@pytest.fixture(params=[1, 2], ids=["one network", "two networks"])
def page(request, browser, tmp_path):
    """The page of two volumes with everything on it, in a tab that must say no error."""
    rows = [
        {"epoch": float(epoch), **dict.fromkeys(("loss", "val_loss", "iou", "val_iou"), 1 / epoch)} for epoch in (1, 2)
    ]
    made = Page(
        "A run with a rather long name, which goes_on_without_a_space_for_a_long_time_and_longer",
        charts=[curves("Loss", rows, ["loss"], 1), curves("Overlap", rows, ["iou"], 1)],
        table=rows,
        words={"Data": "x" * 200},
        scenes=[a_scene("first.h5", request.param), a_scene("second.h5", request.param)],
        class_names=["background", "cell"],
        background=0,
        objects=[histogram("Sizes", "voxels", {"predicted": np.array([1.0, 2, 30])})],
        times=shares({"steps": 3.0}),
        settings={f"option_{number}": "value" for number in range(20)},
    )  # fmt: skip
    (tmp_path / "page.html").write_text(html(made), "utf-8")
    tab, errors = browser.new_page(), []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: errors.append(asked.url) if not asked.url.startswith("file:") else None)
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_selector("#viewer[data-ready]")
    yield tab
    tab.close()
    assert not errors


def colour(tab, axis: int, column: int, row: int) -> list[int]:
    """Return the red, green and blue of a voxel of the plane across an axis."""
    return tab.evaluate(
        "([axis, x, y]) => [...document.querySelectorAll('.plane')[axis].querySelector('canvas').getContext('2d')"
        ".getImageData(x, y, 1, 1).data].slice(0, 3)",
        [axis, column, row],
    )


def choose(tab, name: str) -> None:
    tab.get_by_role("radio", name=name, exact=True).click()


def slide(tab, axis: str, to: int) -> None:
    tab.eval_on_selector(
        f"#slider-{axis}", f"slider => {{ slider.value = {to}; slider.dispatchEvent(new Event('input')); }}"
    )


def test_a_slider_moves_its_plane_and_the_others_follow(page):
    choose(page, "Image")
    for z in (2, 5):
        slide(page, "z", z)
        assert colour(page, 0, 3, 3) == [40 * z] * 3
        assert f"voxel z {z}, " in page.text_content("#voxel")
        # The plane across y shows z from above to below, and a line where the plane across z is.
        assert colour(page, 1, 0, z) == [40 * z] * 3
        line = page.locator(".plane").nth(1).locator(".h").first
        assert float(line.evaluate("line => line.style.top").rstrip("%")) == pytest.approx(
            100 * (z + 0.5) / 6, abs=0.01
        )
    # Every second voxel along x is there: places are those of the volume.
    slide(page, "x", 4)
    assert "x 8 " in page.text_content("#voxel")


def test_what_lies_over_the_image(page):
    slide(page, "z", 2)
    page.fill("#opacity", "100")
    orange, missing_nothing = [0xE6, 0x9F, 0x00], [80, 80, 80]
    choose(page, "Labels")
    assert (colour(page, 0, 4, 3), colour(page, 0, 5, 3)) == (missing_nothing, orange)
    choose(page, "Prediction")
    assert (colour(page, 0, 3, 3), colour(page, 0, 4, 3)) == (missing_nothing, orange)
    choose(page, "Difference")
    assert (colour(page, 0, 3, 3), colour(page, 0, 4, 3), colour(page, 0, 5, 3)) == (
        missing_nothing,
        [0x56, 0xB4, 0xE9],
        missing_nothing,
    )
    choose(page, "Uncertainty")
    assert colour(page, 0, 0, 0) == pytest.approx([0.2 * 213 + 64, 0.2 * 94 + 64, 64], abs=1)
    choose(page, "Objects")
    assert colour(page, 0, 4, 3) != missing_nothing
    page.fill("#opacity", "0")
    assert colour(page, 0, 4, 3) == missing_nothing


def test_what_nobody_labelled_differs_from_nothing(page):
    slide(page, "z", 0)
    choose(page, "Difference")
    assert colour(page, 0, 4, 3) == [0, 0, 0]
    assert "labelled: nothing" in page.text_content("#voxel")


def test_a_class_is_taken_away_and_brought_back(page):
    slide(page, "z", 2)
    page.fill("#opacity", "100")
    cell, background = page.get_by_role("checkbox", name="cell"), page.get_by_role("checkbox", name="background")
    assert cell.is_checked() and not background.is_checked()
    cell.click()
    background.click()
    assert colour(page, 0, 9, 3) == [80, 80, 80] and colour(page, 0, 0, 3) == [0x00, 0x72, 0xB2]


def test_keys(page):
    page.focus("#viewer")
    slide(page, "z", 2)
    slide(page, "y", 2)
    slide(page, "x", 2)
    for key in ("ArrowUp", "PageUp", "PageUp", "ArrowLeft"):
        page.keyboard.press(key)
    assert "voxel z 3, y 4, x 2 " in page.text_content("#voxel")
    chosen = "#over [aria-checked=true]"
    for key, name in (("1", "Labels"), ("3", "Difference"), (" ", "Image"), (" ", "Difference"), ("0", "Image")):
        page.keyboard.press(key)
        assert page.text_content(chosen) == name
    before = int(page.input_value("#opacity"))
    page.keyboard.press("-")
    assert int(page.input_value("#opacity")) == before - 10
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    assert "voxel z 0, " in page.text_content("#voxel")


def test_a_click_goes_there(page):
    canvas = page.locator("#planes canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.3})
    assert ", y 2, x 14 " in page.text_content("#voxel")


def test_another_volume(page):
    page.select_option("#volume", label="second.h5")
    page.wait_for_timeout(200)
    assert page.input_value("#volume") == "1" and "voxel z" in page.text_content("#voxel")


def test_every_network_has_its_planes(page):
    count = len(page.text_content("#voxel").split("network")) - 1 or 1
    assert page.locator("#planes canvas").count() == 3 * count


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for details in page.locator("details").all():
        details.evaluate("details => { details.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Planes are as large as they are readable.
    assert page.locator("#planes canvas").first.bounding_box()["width"] > 100
    small = page.evaluate(
        "[...document.querySelectorAll('p, td, li, dd, svg text')].filter(text => "
        "text.getBoundingClientRect().height > 0 && text.getBoundingClientRect().height < 9).length"
    )
    assert small == 0


def test_it_follows_the_system_into_the_dark(page):
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 24, 27)"]


def test_suggested_slices_are_gone_to(browser, tmp_path):
    scene = replace(a_scene("stack.h5"), start=(4, 3, 2))
    row = {
        "score": 1.0,
        "unsure": 0.5,
        "free": 1.0,
        "distance": 2,
        "classes": [("cell", 1.0)],
    }
    slices = [row | {"name": "z = 4", "at": [4, 3, 2]}, row | {"name": "x = 18", "at": [1, 5, 9], "distance": None}]
    made = Page("Slices", slices=slices, scenes=[scene], class_names=["background", "cell"], background=0)
    (tmp_path / "page.html").write_text(html(made), "utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_selector("#viewer[data-ready]")
    assert "voxel z 4, y 3, x 4 " in tab.text_content("#voxel")
    assert tab.text_content("#over [aria-checked=true]") == "Uncertainty"
    tab.get_by_role("button", name="x = 18").click()
    assert "voxel z 1, y 5, x 18 " in tab.text_content("#voxel")
    tab.get_by_role("button", name="z = 4").click()
    slide(tab, "z", 0)
    tab.get_by_role("button", name="z = 4").click()
    assert "voxel z 4, y 3, x 4 " in tab.text_content("#voxel")
    tab.close()
