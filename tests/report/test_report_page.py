"""The page as a browser reads it: whole, safe, bounded, without network."""

import html.parser
import json
import re

import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.report.page_style import DARK, LIGHT

pytest.importorskip("PIL")

VOID = {"img", "meta", "wbr"}
EVIL = (
    "<script>alert(1)</script>.jpg",
    'quote " onerror="alert(1)" \' & amp;.jpg',
    "動物園/キツネ.jpg",
    "line\nbreak, and comma.jpg",
    "\u202egpj.exe.jpg",
    "not-utf8-\udcff.jpg",
    'a" src="image:3".jpg',
    "<!--problems-->.jpg",
)


class Page(html.parser.HTMLParser):
    """Reads a page and fails where its elements do not nest."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text, self.ids = [], [], [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        assert len(attributes) == len(dict(attributes)), (name, attributes)
        self.tags.append((name, dict(attributes)))
        if "id" in dict(attributes):
            assert dict(attributes)["id"] not in self.ids
            self.ids.add(dict(attributes)["id"])
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        self.text.append(text)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def report(run, **arguments):
    path = lt.report.write_report(run.folder, verbose=False, **arguments)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_has_all_sections_and_each_says_its_limits(make_run):
    _, page = report(make_run(labeled=True, photos=True))
    sections = [section["id"] for section in page.all("section")]
    assert sections == [
        *("photos", "training", "tail", "groups", "neighbors"),
        *("duplicates", "outliers", "labels"),
    ]
    assert page.words.count("What it cannot show.") == len(sections)
    links = [link["href"] for link in page.all("a")]
    assert links == ["#results", *(f"#{name}" for name in sections)]
    assert {link[1:] for link in links} <= page.ids


def test_without_labels_there_is_no_section_on_them(make_run):
    _, page = report(make_run(photos=True))
    assert "labels" not in page.ids
    assert "tail" in page.ids


def test_the_page_loads_nothing_and_runs_nothing(make_run):
    text, page = report(make_run(names=EVIL, labeled=True, photos=True))
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert not re.search(r"https?://|url\(|@import", text)
    for name, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, attributes)
            if key == "src":
                assert value.startswith("data:image/")
            if key == "href":
                assert value.startswith("#")
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'")


def test_file_names_and_labels_are_text_and_nothing_else(make_run):
    run = make_run(
        names=EVIL,
        labeled=True,
        photos=True,
        skipped=[{"path": EVIL[0], "reason": "<i>broken</i>"}],
    )
    text, page = report(run, neighbors_of=list(EVIL))
    assert "<script" not in text
    assert not page.all("b") + page.all("i")
    for shown in (EVIL[0], EVIL[1], EVIL[2], "<i>broken</i>", "<b>owl</b>"):
        assert shown in page.words
    # What turns the text around it, or is no character, is not shown.
    assert "\u202e" not in text
    assert "�gpj.exe.jpg" in page.words
    assert "not-utf8-�.jpg" in page.words
    assert any(EVIL[0] in image["alt"] for image in page.all("img"))


def test_every_image_has_its_file_as_alternative_text(make_run):
    run = make_run(photos=True)
    _, page = report(run)
    images = page.all("img")
    assert len(images) > 30
    for image in images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert image["alt"].split(": ")[0] in run.paths


def test_images_take_no_more_bytes_than_allowed(make_run):
    run = make_run(photos=True)
    sizes = {}
    for allowed in (3_000_000, 150_000, 20_000):
        _, page = report(run, max_image_bytes=allowed)
        sizes[allowed] = sum(
            len(image["src"])
            for image in page.all("img")
            if "jpeg" in image["src"]
        )
        assert 0 < sizes[allowed] <= allowed
    assert sizes[3_000_000] > 150_000
    assert "would not fit in the 20,000 bytes" in page.words


def test_a_folder_of_photos_that_has_moved_is_told_and_can_be_given(make_run):
    run = make_run(photos=True)
    moved = run.photos.rename(run.photos.with_name("moved"))
    text, page = report(run)
    assert f"there is no folder '{run.photos}' any more" in page.words
    assert "data:image/jpeg" not in text
    text, page = report(run, directory=moved)
    assert "any more" not in page.words
    assert "data:image/svg" not in text


def test_photos_that_were_deleted_are_counted(make_run):
    run = make_run(photos=True)
    for path in run.paths:
        (run.photos / path).unlink()
    (run.photos / run.paths[0]).write_bytes(b"no image")
    _, page = report(run)
    assert "could not be read, so a crossed box stands for each" in page.words


def test_a_path_of_images_csv_is_not_read_as_a_mark(make_run):
    # The name would put another image into the page.
    run = make_run(num_images=12, names=EVIL, photos=True)
    text, _ = report(run, neighbors_of=[EVIL[6], EVIL[7]])
    assert 'src="image:' not in text
    assert "<!--" not in text


def contrast(first, second):
    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
@pytest.mark.parametrize("ink", ["text", "muted", "accent", "alert"])
def test_every_ink_has_the_contrast_that_wcag_asks_for(scheme, ground, ink):
    assert contrast(scheme[ink], scheme[ground]) >= 4.5


def test_the_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_numbers_are_in_the_json_file(make_run):
    run = make_run(labeled=True, photos=True)
    report(run)
    numbers = json.loads((run.folder / "report.json").read_text())
    assert numbers["format"] == "keras_ltssl.run_report"
    assert numbers["photos"]["num_images"] == 80
    assert numbers["training"]["last"]["loss"] == 3.0
    assert numbers["training"]["columns"]["effective_rank"] == [None, 7.5, None]
    assert len(numbers["tail"]["rarest"]) == 80
    assert sum(g["size"] for g in numbers["groups"]["groups"]) == 80
    assert [c["label"] for c in numbers["labels"]["classes"]] == [
        *("<b>owl</b>", "deer", "fox", "hare")
    ]


def test_two_reports_of_one_run_are_equal_but_for_the_time(make_run):
    run = make_run(labeled=True, photos=True)
    first, second = (
        re.sub(r"Written \S+ \S+", "", report(run)[0]) for _ in range(2)
    )
    assert first == second
