from mox_core.name_lists import counted, listed, number_of, some, some_explained


def test_names_are_listed_with_the_conjunction_before_the_last():
    assert listed(["a", "b", "c"], "and") == "'a', 'b' and 'c'"
    assert (listed(["a"], "or"), listed([], "or")) == ("'a'", "")


def test_of_many_names_some_are_told_and_that_there_are_others():
    assert some(["a", "b", "c"]) == "'a', 'b', 'c'"
    assert some(["a", "b", "c"], most=2) == "'a', 'b', ..."
    assert some_explained({"a": "a FIFO", "b": "a socket"}, most=1) == "'a' (a FIFO), ..."


def test_of_many_texts_some_are_told_and_how_many_others_there_are():
    assert counted(iter("abc"), 3) == "a, b, c"
    assert counted({"a": 1, "b": 2, "c": 3}, 2) == "a, b, and 1 more"


def test_one_thing_is_counted_in_the_singular():
    assert [number_of(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
