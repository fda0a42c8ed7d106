"""A folder that is kept up on a store: what is there at any moment, worked out from the order of its operations."""

import contextlib
import shutil
import threading
from pathlib import Path

import pytest

from mox_core.errors import LogDirError
from mox_core.stores import uploads as module
from mox_core.stores.folder import RemoteFile
from mox_core.stores.uploads import Uploads


class Store:
    """A store on a disk that keeps a list of what is done to it, and can fail."""

    url = "disk://store"

    def __init__(self, path):
        self.path, self.done, self.failing = path, [], lambda _name: False
        self.broken = []

    def files(self, *, deep):
        assert deep
        paths = [path for path in self.path.rglob("*") if path.is_file()]
        return {path.relative_to(self.path).as_posix(): RemoteFile(path.stat().st_size, "") for path in paths}

    def upload(self, path, name):
        if self.failing(name):
            raise OSError(f"no way to {name}")
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        self._note("upload", name)

    def remove(self, name):
        (self.path / name).unlink()
        self._note("remove", name)

    def _note(self, what, name):
        self.done.append((what, name))
        self.broken += [(*self.done[-1], why) for why in self.not_whole()]

    def not_whole(self):
        """What a reader would find that is not whole: each file of a checkpoint says in this test when it was saved."""
        for index in self.path.rglob("*.index"):
            data = index.with_suffix(".data-00000-of-00001")
            if not data.exists() or data.read_text() != index.read_text():
                yield f"{index.name} without its data"
        with contextlib.suppress(FileNotFoundError):
            named = (self.path / "checkpoint").read_text().split()
            if not any((self.path / f"{name}.index").exists() for name in named):
                yield "checkpoint names none that is there"


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)


def opened(store, tmp_path, *, is_ours=lambda: True):
    (tmp_path / "log").mkdir(exist_ok=True)
    return Uploads(tmp_path / "log", store, tmp_path / "uploads", set(store.files(deep=True)), is_ours)


def save(folder, steps, *, when="first"):
    """Saves the last of some checkpoints as mox does, and keeps the others."""
    for end in (".data-00000-of-00001", ".index"):
        new = folder / f".new{end}"
        new.write_text(f"{steps[-1]} {when}")
        new.rename(folder / f"model.ckpt-{steps[-1]}{end}")
    (folder / "checkpoint").write_text("\n".join(f"model.ckpt-{step}" for step in steps))
    kept = {f"model.ckpt-{step}" for step in steps}
    for path in folder.glob("model.ckpt-*"):
        if path.name.partition(".index")[0].partition(".data")[0] not in kept:
            path.unlink()


def test_what_is_on_the_store_is_whole_after_each_operation(store, tmp_path):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    for steps in ([1], [1, 2], [2, 3], [3, 4]):
        save(log, steps)
        uploads.publish()
    save(log, [3, 4], when="again")  # the weights of a step have become others
    uploads.finish()
    assert not store.broken
    assert set(store.files(deep=True)) == {path.name for path in log.iterdir()}
    assert (store.path / "model.ckpt-4.index").read_text() == "4 again"


def test_a_checkpoint_is_uploaded_as_it_was_though_it_is_removed_meanwhile(store, tmp_path):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    begun, removed = threading.Event(), threading.Event()

    def wait_at_data(name):
        if name == "model.ckpt-1.data-00000-of-00001":
            begun.set()
            removed.wait()
        return False

    store.failing = wait_at_data
    save(log, [1])
    uploads.publish()
    begun.wait()
    save(log, [2])  # and the first is gone
    removed.set()
    uploads.finish()
    assert ("upload", "model.ckpt-1.index") in store.done
    assert not store.broken
    assert sorted(store.files(deep=True)) == ["checkpoint", "model.ckpt-2.data-00000-of-00001", "model.ckpt-2.index"]


def test_a_slow_network_gets_the_newest_checkpoint(store, tmp_path):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    begun, saved = threading.Event(), threading.Event()

    def wait_at_first(name):
        if name == "model.ckpt-1.index":
            begun.set()
            saved.wait()
        return False

    store.failing = wait_at_first
    save(log, [1])
    uploads.publish()
    begun.wait()
    for step in range(2, 10):
        save(log, [step])
        uploads.publish()
    saved.set()
    uploads.finish()
    assert [name for what, name in store.done if what == "upload" and name.endswith(".index")] == [
        "model.ckpt-1.index",
        "model.ckpt-9.index",
    ]
    assert not store.broken


def test_what_fails_is_said_and_tried_again(store, tmp_path, caplog):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    failures = iter([True] * 4)
    store.failing = lambda name: name.endswith(".index") and next(failures, False)
    save(log, [1])
    uploads.finish()
    assert (store.path / "model.ckpt-1.index").exists()
    assert "disk://store is behind (3 files, " in caplog.text
    assert "with model.ckpt-1): no way to model.ckpt-1.index. The next try" in caplog.text


def test_what_cannot_be_uploaded_stays_where_it_is(store, tmp_path):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    store.failing = lambda _name: True
    save(log, [1])
    with pytest.raises(LogDirError, match=r"lacks the last files .*\(3 files.*with model\.ckpt-1\).*no way to"):
        uploads.finish()
    assert (log / "model.ckpt-1.index").exists()


def test_nothing_is_uploaded_into_a_folder_that_another_run_has_taken(store, tmp_path):
    ours = iter([True, False])
    uploads, log = opened(store, tmp_path, is_ours=lambda: next(ours)), tmp_path / "log"
    save(log, [1])
    uploads.publish()
    while not (store.path / "checkpoint").exists():
        threading.Event().wait(0.001)
    save(log, [1, 2])
    with pytest.raises(LogDirError, match="another run has taken it"):
        uploads.finish()
    assert uploads.lost
    assert not (store.path / "model.ckpt-2.index").exists()


def test_older_checkpoints_stay_whose_data_are_on_the_store_only(store, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    save(store.path, [1])
    save(store.path, [1, 2])
    (store.path / "events.out.tfevents.1").write_text("of an earlier run")
    (store.path / "model.ckpt-9.data-00000-of-00001").write_text("of a run that was killed")
    for name in ("model.ckpt-1.index", "model.ckpt-2.index", "checkpoint"):
        shutil.copy(store.path / name, log / name)
    known = {name for name in store.files(deep=True) if not name.startswith("events")}
    uploads = Uploads(log, store, tmp_path / "uploads", known, lambda: True)
    save(log, [1, 2, 3])
    uploads.publish()
    save(log, [2, 3, 4])
    uploads.finish()
    assert not store.broken
    data = [f"model.ckpt-{step}{end}" for step in (2, 3, 4) for end in (".data-00000-of-00001", ".index")]
    assert sorted(store.files(deep=True)) == sorted(["checkpoint", "events.out.tfevents.1", *data])


def test_a_checkpoint_that_was_fetched_to_begin_with_stays_on_the_store(store, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    save(store.path, [1])
    for name in ("model.ckpt-1.index", "checkpoint"):
        shutil.copy(store.path / name, log / name)
    uploads = opened(store, tmp_path)
    shutil.copy(store.path / "model.ckpt-1.data-00000-of-00001", log)
    uploads.note_fetched(["model.ckpt-1.data-00000-of-00001"])
    save(log, [1, 2])
    uploads.finish()
    assert not [name for _, name in store.done if name.startswith("model.ckpt-1")]
    assert not store.broken


def test_an_index_whose_data_alone_have_changed_comes_back(store, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    save(store.path, [0])
    save(store.path, [0, 1])
    for name in store.files(deep=True):
        shutil.copy(store.path / name, log / name)
    uploads = opened(store, tmp_path)
    shutil.copy(log / "model.ckpt-1.data-00000-of-00001", log / "again")
    (log / "again").rename(log / "model.ckpt-1.data-00000-of-00001")
    uploads.finish()
    assert (store.path / "model.ckpt-1.index").exists()
    assert not store.broken


def test_what_is_not_complete_is_not_uploaded(store, tmp_path):
    uploads, log = opened(store, tmp_path), tmp_path / "log"
    unfinished = (".unfinished-12/model.ckpt-1.index", ".mox.lock")
    for name in (*unfinished, ".mox/notes.json", "3/saved_model.pb", "3/variables/a"):
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / name).write_text("x")
    uploads.finish()
    assert [name for _, name in store.done][-1] == "3/saved_model.pb"
    assert sorted(store.files(deep=True)) == [".mox/notes.json", "3/saved_model.pb", "3/variables/a"]
    assert Path(store.path / "3/variables/a").read_text() == "x"
