import pytest

from mox_core.did_you_mean import did_you_mean, nearest


@pytest.mark.parametrize(
    ("asked", "known", "expected"),
    [
        # 2 * 8 letters in common of 8 + 12: 0.8 for both; resnet_v1_18 has 2 * 6 of 20: 0.6, much less near
        ("resnet50", ["resnet_v1_18", "resnet_v1_50", "resnet_v2_50"], ["resnet_v1_50", "resnet_v2_50"]),
        ("SGD", ["adam", "sgd"], ["sgd"]),
        ("lars", ["sgd", "adam"], []),
        ("lars", [], []),
        ("ab", ["abd", "abc", "abf", "abe"], ["abc", "abd", "abe"]),
    ],
)
def test_the_nearest_names_come_first_and_at_most_three(asked, known, expected):
    assert nearest(asked, known) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "Did you mean 'a'?"),
        (["a", "b"], "Did you mean 'a' or 'b'?"),
        (["a", "b", "c"], "Did you mean 'a', 'b' or 'c'?"),
    ],
)
def test_the_names_are_proposed_in_one_sentence(names, expected):
    assert did_you_mean(names) == expected
