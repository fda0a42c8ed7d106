"""Scripts of Python 2 and of pandas 1: what they printed then."""

import re

import pytest

PYTHON_2 = r'''
# -*- coding: utf-8 -*-
import sys
import beside

def scaled(factor, (low, high)):
    return factor * low, factor * high

def read(path):
    try:
        raise ValueError, "no file %s" % path
    except (IOError, ValueError), error:
        print "failed:", error
        return `path`

class Counter(object):
→def __init__(self):
→→self.count = 0
        def add(self):      # a tab above, eight spaces here
→→self.count += 1
→        return self.count

counts = {"a": 5, "b": 7L}
if counts.has_key("a") and not counts.has_key("c") and 1 <> 2:
    print counts["a"] / 2, counts["b"] / 2.0, -7 / 2, 0777
total = 9
total /= 2
print total,
print "behind it"
print >>sys.stdout, scaled(2, (3, 4)), read("x"), Counter().add()
print sorted(k for k, _ in counts.iteritems()), sum(counts.itervalues()), counts.keys()[:0]
print map(lambda (a, b): a + b, [(1, 2)]), range(2) + [9], filter(None, [0, 1]), zip([1], [2]), xrange(3)[1]
exec "made = 3"
exec "made = 4" in {}
print made, ur'\d', u"text", unicode(1), long(2), isinstance("s", basestring)
print """a string
→with a tab"""
print
print beside.half(7), beside.half(7.0)
raise RuntimeError, "at the end"
'''.replace("→", "\t")

PRINTED = r"""
2 3.5 -4 511
4 behind it
failed: no file x
(6, 8) 'x' 1
['a', 'b'] 12 []
[3] [0, 1, 9] [1] [(1, 2)] 1
3 \d text 1 2 True
a string
→with a tab

3 3.5
""".replace("→", "\t")


@pytest.fixture
def beside(tmp_path):
    (tmp_path / "beside.py").write_text("def half(x):\n    print ''.strip() or '',\n    return x / 2\n", "utf-8")


@pytest.mark.usefixtures("beside")
def test_a_script_of_python_2_prints_what_python_2_printed_and_fails_at_its_own_line(tf1, tmp_path):
    done = tf1(PYTHON_2, rc=1)
    assert re.sub("(?m)^ *(?=3 3.5$)", "", done.stdout) == PRINTED.lstrip("\n")
    number = 1 + PYTHON_2[: PYTHON_2.index("raise RuntimeError")].count("\n")
    assert f'\ntrain.py:{number}: raise RuntimeError, "at the end"\nRuntimeError: at the end\n' in done.stderr
    for name in ("train.py", "beside.py"):
        said = f"{tmp_path / name} is of Python 2: it is converted in memory, by fissix; its file stays as it is."
        assert done.stderr.count(said) == 1
    assert (tmp_path / "train.py").read_text("utf-8") == PYTHON_2
    assert not (tmp_path / "__pycache__").exists(), "Python would run there what is meant for scripts"


@pytest.mark.usefixtures("beside")
def test_check_says_what_will_be_converted_and_what_cannot_be(tf1, tmp_path):
    note = "of Python 2 from here on: it will be converted in memory, by fissix; the file stays as it is."
    assert tf1(PYTHON_2, options=["--check"]).stdout.splitlines() == [f"train.py:6: {note}", f"beside.py:2: {note}"]
    (tmp_path / "beside.py").unlink()
    script = "import tensorflow as tf\nprint tf.no_such_name\n"
    assert tf1(script, options=["--check"], rc=1).stdout.splitlines() == [
        "train.py:2: TensorFlow 1.15.0, as mox-tf1 gives it, has no tf.no_such_name.",
        f"train.py:2: {note}",
    ]
    neither = 'print "text"\nx = = 1\nprint `x`\n'
    assert tf1(neither, options=["--check"], rc=1).stdout.splitlines() == [
        "train.py:1: of Python 2: print is a function: print(...).",
        "train.py:3: of Python 2: backticks are gone: repr(...).",
        "train.py:3: of Python 2: print is a function: print(...).",
    ]
    assert tf1(neither, rc=1).stderr.startswith('train.py:1: print "text"\n')


PANDAS = """
import sys
sys.path.append('elsewhere')
import numpy as np
import pandas as pd
import tensorflow as tf
import foreign

frame = pd.DataFrame({'x': [1, 2], 'y': [0.5, 1.5]})
frame = frame.append({'x': 3, 'y': 2.5}, ignore_index=True)
frame = frame.append(pd.Series({'x': 4, 'y': 3.5}, name='named'))
frame = frame.append(frame[:1]).append([frame[1:2]])
print(frame['x'].tolist(), frame.index.tolist(), frame.as_matrix().shape, [name for name, _ in frame.iteritems()])
print(frame.append([{'x': 9.0, 'y': 9.0}], ignore_index=True).tail(1).values.tolist())
print(pd.Series([1]).append([pd.Series([2]), pd.Series([3])], ignore_index=True).tolist())
for wrong in (lambda: frame.append({'x': 1}), lambda: frame.append(pd.Series({'x': 1})), lambda: (1).append(2),
              lambda: frame.no_such, lambda: None.value, lambda: {}.append(1)):
    try:
        wrong()
    except (AttributeError, TypeError) as error:
        print(type(error).__name__, error)
rows = []
rows.append(1)
x = tf.zeros([2, 3])
print(rows, x.shape[0].value + x.get_shape()[1].value, [each.value for each in x.get_shape()])
print({'k': 1}.has_key('k'), list({'k': 1}.iteritems()), foreign.look(frame))

class Own(object):
    value = 5
    def iteritems(self):
        return 'its own'
print(Own().iteritems(), [Own()][0].value)
"""


def test_methods_that_pandas_and_dicts_have_lost_are_there_for_the_script_and_for_nobody_else(tf1, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "foreign.py").write_text(
        "import pandas\ndef look(frame):\n    return [hasattr(frame, 'append'), hasattr({}, 'has_key')]\n", "utf-8"
    )
    # The folder is the script's own: what is to be foreign has to be on the path already, as what is installed is.
    (tmp_path / "project").mkdir()
    script = PANDAS.replace("'elsewhere'", repr(str(tmp_path / "elsewhere")))
    lines = tf1(script, name="project/train.py").stdout.splitlines()
    assert lines == [
        "[1.0, 2.0, 3.0, 4.0, 1.0, 2.0] [0, 1, 2, 'named', 0, 1] (6, 2) ['x', 'y']",
        "[[9.0, 9.0]]",
        "[1, 2, 3]",
        "TypeError Can only append a dict if ignore_index=True",
        "TypeError Can only append a Series if ignore_index=True or if the Series has a name",
        "AttributeError 'int' object has no attribute 'append'",
        "AttributeError 'DataFrame' object has no attribute 'no_such'",
        "AttributeError 'NoneType' object has no attribute 'value'",
        "AttributeError 'dict' object has no attribute 'append'",
        "[1] 5 [2, 3]",
        "True [('k', 1)] [False, False]",
        "its own 5",
    ]


def test_names_that_the_library_has_lost_are_there_for_the_script_alone(tf1):
    done = tf1("""
        import collections, fractions, inspect, itertools, os, string, time, urllib
        import os.path
        import urllib.request
        from collections import Iterable, OrderedDict, namedtuple
        from itertools import izip, chain
        print(isinstance([], collections.Mapping), isinstance({}, Iterable), fractions.gcd(12, 18))
        print(list(izip([1], [2])), list(itertools.imap(abs, [-1])), list(itertools.ifilter(None, [0, 1])))
        print(string.letters[:3], string.uppercase[:2], 'aX'.translate(string.maketrans('a', 'b')), os.getcwdu()[0])
        print(urllib.quote('a b'), urllib.urlencode({'k': 1}), callable(urllib.urlopen), time.clock() > 0)
        print(list(inspect.getargspec(lambda x, y=1, *z: 0)), os.path.join('a', 'b'), os.errno.ENOENT)
        os.environ['GIVEN'] = '1'
        time.tzset_of_script = 5
        import importlib, sys
        real = importlib.import_module('time')
        print(type(sys.modules['os']).__name__, hasattr(real, 'clock'), real.tzset_of_script)
    """)
    assert done.stdout.splitlines() == [
        "False True 6",
        "[(1, 2)] [1] [1]",
        "abc AB bX /",
        "a%20b k=1 True True",
        "[['x', 'y'], 'z', None, (1,)] a/b 2",
        "module False 5",
    ]
