"""`mox report`: the numbers of the page against folders that were written by hand. The page is XML, too."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import mox_core as mox
from mox_report.commands import main


@pytest.fixture
def page_of(tmp_path, capsys):
    """Run the command on folders; return the page, parsed."""

    def page(*folders):
        output = tmp_path / "pages" / "report.html"
        assert main([*map(str, folders), "--output", str(output)]) == 0
        assert capsys.readouterr().out == f"{output}\n"
        return ET.fromstring(output.read_text())  # noqa: S314  (our own)

    return page


def words(element):
    return " ".join("".join(element.itertext()).split())


def rows(page, caption):
    """The cells of a table by the name of the row."""
    tables = [table for table in page.iter("table") if words(table.find("caption")) == caption]
    assert len(tables) == 1
    return {words(row[0]): [words(cell) for cell in row[1:]] for row in tables[0].find("tbody")}


def figure(page, title):
    return next(each for each in page.iter("figure") if words(each.find("figcaption")).startswith(title))


def points(drawn, gid):
    """The points of a line in a figure, in the coordinates of the drawing."""
    group = next(each for each in drawn.iter("g") if each.get("id", "").endswith(gid))
    path = next(each for each in group.iter("path") if "clip-path" in each.attrib)
    return np.array([[float(each) for each in pair] for pair in re.findall(r"[ML] (\S+) (\S+)", path.get("d"))])


def check_line(drawn, gid, steps, values):
    """Whether the points of a line lie where the numbers say: one scale for each axis, upwards."""
    drawn_points = points(drawn, gid)
    assert len(drawn_points) == len(steps)
    for numbers, place, sign in ((steps, drawn_points[:, 0], 1), (values, drawn_points[:, 1], -1)):
        slope, offset = np.polyfit(numbers, place, 1)
        np.testing.assert_allclose(np.multiply(slope, numbers) + offset, place, atol=0.01)
        assert slope * sign > 0


def test_the_numbers_of_the_page_are_those_of_the_files(write_training, tmp_path, page_of):
    page = page_of(write_training(tmp_path / "one"))
    assert rows(page, "What was logged last") == {
        "steps": ["41"],
        "time": ["1 min 40 s"],
        "loss, training": ["0.000"],
        "loss, validation": ["1.250"],
        "accuracy, training": ["0.800"],
        "accuracy, validation": ["0.800"],
    }
    assert rows(page, "Times") == {
        "samples a second, median": ["102"],
        "validations": ["2 in 5.0 s"],
        "saves": ["1 in 1.0 s"],
        "in all": ["1 min 40 s"],
    }
    assert "94% training, with its start and export, 5% validations, 1% saves" in ET.tostring(page, encoding="unicode")
    (intro,) = page.find("body/main/header").findall("p")
    said = "41 steps in 1 min 40 s, begun on 1 March 2026, 10:00 UTC. It came to its max_number_of_steps."
    assert words(intro) == said


def test_curves_go_through_what_was_logged(write_training, tmp_path, page_of):
    page = page_of(write_training(tmp_path / "one"))
    loss = figure(page, "loss")
    steps = [0, 10, 20, 30, 40]
    check_line(loss, "curve-0-training", steps, [4, 3, 2, 1, 0])
    check_line(loss, "curve-1-validation", [19, 39], [3.5, 1.25])
    check_line(figure(page, "learning rate"), "curve-0-training", steps, [0.5, 0.25, 0.5 / 3, 0.125, 0.1])
    check_line(figure(page, "samples a second"), "curve-0-training", steps, [100, 101, 102, 103, 104])
    said = loss.find("svg").get("aria-label")
    assert said == (
        "loss by step: training from 4.000 at step 0 to 0.000 at step 40; "
        "validation from 3.500 at step 19 to 1.250 at step 39"
    )


def test_trainings_stand_side_by_side_and_what_differs_is_said(write_training, tmp_path, page_of):
    page = page_of(write_training(tmp_path / "one"), write_training(tmp_path / "two", scale=2.0))
    assert rows(page, "What was logged last")["loss, validation"] == ["1.250", "2.500"]
    loss = figure(page, "loss")
    check_line(loss, "curve-0-validation", [19, 39], [3.5, 1.25])
    check_line(loss, "curve-1-validation", [19, 39], [7.0, 2.5])
    both = np.concatenate([points(loss, f"curve-{number}-training") for number in (0, 1)])
    np.testing.assert_allclose(
        *[np.polyfit(v, both[5:, 1], 1) for v in ([8, 6, 4, 2, 0],)],
        np.polyfit([4, 3, 2, 1, 0], both[:5, 1], 1),
        atol=0.01,
    )
    arguments = rows(page, "Arguments")
    assert list(arguments) == ["batch_size differs", "run_mode"]
    assert arguments["batch_size differs"] == ["16", "32"]
    assert "one, training" in words(loss.find("figcaption"))
    assert len(page.findall(".//section/div/figure[@class='matrix']")) == 2


def test_mistakes_and_worst_samples_are_shown(write_training, tmp_path, page_of):
    page = page_of(write_training(tmp_path / "one"))
    matrix = page.find(".//figure[@class='matrix']")
    # 9 + 8 + 10 of 30
    assert words(matrix.find("figcaption")) == "27 of 30 samples right (90.0%) in the validation at step 39."
    drawn = [words(each) for each in matrix.iter("text")]
    assert sorted(each for each in drawn if each.isdigit()) == sorted(["9", "1", "8", "2", "10"])
    assert drawn.count("cat") == drawn.count("dog") == drawn.count("owl") == 2
    assert rows(page, "Commonest mistakes") == {"dog → cat": ["2", "20.0%"], "cat → owl": ["1", "10.0%"]}
    wrong, right = page.find(".//ul[@class='samples']")
    assert wrong.find("img").get("alt") == "photo.jpg labelled cat, taken for owl"
    assert [each.get("class") for each in (wrong.find("span"), right.find("span"))] == ["wrong", "right"]
    assert words(wrong.find("span")) == "✗ cat → owl 88%"
    assert words(right.find("small")) == "loss not finite"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & $b$ \\frac", "x\0\ud800"]
)
def test_names_are_text_whatever_they_say(write_training, tmp_path, page_of, name):
    training = write_training(tmp_path / "one", names=(name, f"{name} 2"), classes=(name, "dog", "owl"), sample=name)
    notes = json.loads((training / "runs.json").read_text())
    notes[0] |= {"stopped_by": name, "arguments": {name: name}}
    (training / "runs.json").write_text(json.dumps(notes))
    page = page_of(training)
    assert not list(page.iter("script"))
    assert {each.get("src").partition(",")[0] for each in page.iter("img")} == {"data:image/png;base64"}
    assert not [key for each in page.iter() for key in each.attrib if key.startswith("on")]
    shown = re.sub("[\0\ud800]", "\N{REPLACEMENT CHARACTER}", name)
    assert rows(page, "Arguments") == {shown: [shown]}
    assert f"{shown}, training" in rows(page, "What was logged last")
    wrong = page.find(".//ul[@class='samples']/li")
    assert wrong.find("img").get("alt") == f"{shown} labelled {shown}, taken for owl"


def test_nothing_in_the_page_is_elsewhere(write_training, tmp_path, page_of):
    page = page_of(write_training(tmp_path / "one"))
    policy = page.find("head/meta[@http-equiv='Content-Security-Policy']").get("content")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    addresses = [value for each in page.iter() for key, value in each.attrib.items() if key in {"src", "href"}]
    assert all(each.startswith(("data:", "#")) for each in addresses)
    assert "url(" not in words(page.find("head/style"))
    assert "@import" not in words(page.find("head/style"))
    ids = [each.get("id") for each in page.iter() if each.get("id")]
    assert len(ids) == len(set(ids))


def test_a_training_that_was_killed_is_shown_with_what_it_left(write_training, tmp_path, page_of, capsys):
    training = write_training(tmp_path / "one")
    (training / "runs.json").write_text('[{"begun": "2026-03-01T10:00:00+00:00", "first_step": 0}]')
    with (training / "history.jsonl").open("a") as file:
        file.write('{"step": 50, "mode": "TRA')
    number = len((training / "history.jsonl").read_text().splitlines())
    (training / ".mox" / "worst_samples.json").write_text('{"worst": [{"image": "bm8gcG5n"}, 3], "confusion": "x", ')
    page = page_of(training)
    main([str(training), "--output", str(tmp_path / "again.html")])
    said = f"mox report: history.jsonl of {str(training)!r}: 1 line cannot be read and will be left out: {number}.\n"
    assert capsys.readouterr().err == said
    (intro,) = page.find("body/main/header").findall("p")
    assert words(intro).endswith("Its last run has not noted an end: it goes on, or was killed.")
    assert rows(page, "Times")["in all"] == ["not known"]
    headings = [words(each) for each in page.iter("h2")]
    assert headings == ["Curves", "In the end", "Time", "Settings"]


def test_a_history_alone_is_enough_and_a_matrix_in_it_is_a_confusion_matrix(tmp_path, page_of):
    records = [
        {"step": 0, "mode": "TRAIN", "loss": 2.0, "recall": [0.5, None]},
        {"step": 1, "mode": "VALIDATION", "loss": 3.0, "counts": [[3.0, 1.0], [0.0, 4.0]]},
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    page = page_of(tmp_path)
    matrix = words(page.find(".//figure[@class='matrix']/figcaption"))
    assert matrix == "7 of 8 samples right (87.5%) in counts of the validation at step 1."
    assert rows(page, "What was logged last")["counts, validation"] == ["2 x 2"]
    assert "The folder has no notes on its runs" in words(page)
    page = page_of(write_only_training(tmp_path / "train"))
    assert "There was no validation while training" in words(page)


def write_only_training(folder):
    folder.mkdir()
    (folder / "history.jsonl").write_text(
        '{"step": 0, "mode": "TRAIN", "loss": null}\n{"step": 5, "mode": "TRAIN", "loss": 1}\n'
    )
    return folder


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"worst": 3, "classes": {"a": 1}, "one_of": "x"}', '{"confusion": [[0, 7, 1], [1]]}']
)
def test_files_of_another_shape_are_passed_over(write_training, tmp_path, page_of, text):
    training = write_training(tmp_path / "one")
    (training / ".mox" / "worst_samples.json").write_text(text)
    (training / "runs.json").write_text(text)
    assert rows(page_of(training), "What was logged last")["loss, validation"] == ["1.250"]


def test_a_folder_without_a_training_is_refused_with_what_to_do(write_training, tmp_path):
    with pytest.raises(mox.UsageError, match=r"there is no folder '.*nowhere': give the log_dir of a training"):
        main([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(mox.UsageError, match=r"'.*empty' holds nothing that a training has logged: mox.run\("):
        main([str(tmp_path / "empty")])
    write_training(tmp_path / "all" / "one")
    with pytest.raises(mox.UsageError, match=r"holds folders of trainings, and is none itself: mox report .*all/one$"):
        main([str(tmp_path / "all")])
    with pytest.raises(mox.LogDirError, match=r"cannot be written: Not a directory|cannot be written: File exists"):
        main([str(tmp_path / "all" / "one"), "--output", str(tmp_path / "all" / "one" / "runs.json" / "page.html")])


def test_many_points_and_many_classes_are_thinned_and_it_is_said(tmp_path, page_of):
    size = 30
    counts = np.eye(size) * 5
    counts[29, 3] = 7
    records = [{"step": step, "mode": "TRAIN", "loss": 1.0 + step % 7} for step in range(5000)]
    records.append({"step": 4999, "mode": "VALIDATION", "counts": counts.tolist()})
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    page = page_of(tmp_path)
    line = points(figure(page, "loss"), "curve-0-training")
    assert 100 < len(line) <= 1001
    caption = words(page.find(".//figure[@class='matrix']/figcaption"))
    assert caption.endswith("Drawn are the 24 classes of 30 with the most mistakes.")
    assert {"3", "29"} <= {words(each) for each in page.find(".//figure[@class='matrix']").iter("text")}
    assert rows(page, "Commonest mistakes") == {"29 → 3": ["7", "58.3%"]}  # 7 of 12


def test_values_far_apart_are_drawn_by_their_logarithms(tmp_path, page_of):
    values = [1000.0, 10.0, 1.0, 1.0, 0.1]
    records = [{"step": n, "mode": "TRAIN", "loss": value} for n, value in enumerate(values)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    loss = figure(page_of(tmp_path), "loss")
    assert "logarithmic" in words(loss.find("figcaption"))
    check_line(loss, "curve-0-training", range(5), np.log10(values))
