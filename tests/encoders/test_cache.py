import multiprocessing
import os
import signal
import sqlite3
import time
import warnings

import numpy as np
import pytest

from llmhash.encoders.cache import DEFAULT_MAX_BYTES, FeatureCache, TextKeys, parse_size
from llmhash.errors import InputError

DIM = 64


def keys(count, start=0):
    return [i.to_bytes(16, "little") for i in range(start, start + count)]


def vectors(names, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((len(names), DIM), dtype=np.float32)
    return dict(zip(names, matrix, strict=True))


def same(found, expected):
    return found.keys() == expected.keys() and all((found[key] == expected[key]).all() for key in expected)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


@pytest.fixture
def cache(folder):
    with_default_limit = FeatureCache(folder)
    yield with_default_limit
    with_default_limit.close()


class TestKeys:
    def test_depend_on_scope_and_text(self):
        one = TextKeys("model", "prompt")
        assert one.key("text") == TextKeys("model", "prompt").key("text")
        assert len(one.key("text")) == 16
        others = {
            TextKeys("model", "promp").key("ttext"),
            TextKeys("modelprompt").key("text"),
            one.key("texT"),
        }
        assert one.key("text") not in others
        assert len(others) == 3

    def test_any_string_has_one(self):
        assert TextKeys("").key("\ud800") != TextKeys("").key("")


class TestGetAndPut:
    def test_round_trip_is_the_same_bits(self, cache, folder):
        kept = vectors(keys(5))
        cache.put(kept)
        assert same(cache.get(keys(7)), kept)
        assert same(FeatureCache(folder).get(keys(5)[1:3]), {key: kept[key] for key in keys(5)[1:3]})
        assert all(vector.dtype == np.float32 for vector in cache.get(keys(5)).values())

    def test_more_keys_than_one_query_takes(self, cache):
        many = keys(20_000)
        cache.put(dict.fromkeys(many, np.ones(2, np.float32)))
        assert len(cache.get(many)) == 20_000
        assert cache.info()["entries"] == 20_000

    def test_what_is_there_stays(self, cache):
        first, second = vectors(keys(3)), vectors(keys(3), seed=1)
        cache.put(first)
        cache.put(second)
        assert same(cache.get(keys(3)), first)
        assert cache.info()["entries"] == 3

    def test_nothing(self, cache):
        cache.put({})
        assert cache.get([]) == {}
        assert cache.info() == {"path": str(cache.path), "entries": 0, "bytes": 0, "limit": DEFAULT_MAX_BYTES}


class TestInfoAndClear:
    def test_clear_gives_the_space_back(self, cache):
        cache.put(vectors(keys(5_000)))
        before = cache.info()
        assert before["entries"] == 5_000
        assert before["bytes"] > 5_000 * DIM * 4
        assert cache.clear() == 5_000
        after = cache.info()
        assert after["entries"] == 0
        assert after["bytes"] < 0.2 * before["bytes"]
        cache.put(vectors(keys(2)))
        assert cache.info()["entries"] == 2

    def test_an_unused_cache_leaves_no_file(self, cache, folder):
        assert cache.clear() == 0
        assert cache.info()["entries"] == 0
        assert not folder.exists()


class TestLimit:
    def test_the_least_recently_used_go_first(self, folder, monkeypatch):
        clock = [1_000_000]
        monkeypatch.setattr(time, "time", lambda: clock[0])
        cache = FeatureCache(folder, max_bytes=1_500_000)
        used, unused, fresh = keys(1_500), keys(1_500, 2_000), keys(2_000, 4_000)
        cache.put(vectors(used))
        cache.put(vectors(unused))
        clock[0] += 100_000
        assert len(cache.get(used)) == 1_500
        for start in range(0, len(fresh), 500):
            clock[0] += 10
            cache.put(vectors(fresh[start : start + 500]))
        assert cache.info()["bytes"] < 2_000_000
        kept = [len(cache.get(names)) for names in (used, unused, fresh)]
        assert kept[0] == 1_500
        assert kept[1] < 1_500
        assert kept[2] == 2_000

    def test_the_file_stays_under_the_limit_however_much_is_written(self, folder):
        cache = FeatureCache(folder, max_bytes=1_000_000)
        for start in range(0, 20_000, 500):
            cache.put(vectors(keys(500, start)))
        assert cache.path.stat().st_size < 1_300_000
        assert 1_000 < cache.info()["entries"] < 4_000
        assert len(cache.get(keys(500, 19_500))) == 500

    def test_a_lowered_limit_shrinks_the_file(self, folder):
        FeatureCache(folder).put(vectors(keys(10_000)))
        cache = FeatureCache(folder, max_bytes=1_000_000)
        cache.put(vectors(keys(1, 50_000)))
        assert cache.info()["bytes"] < 1_300_000

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("4GB", 4 * 10**9),
            ("500 mb", 5 * 10**8),
            ("2GiB", 2**31),
            ("1.5k", 1500),
            ("1000", 1000),
            ("7B", 7),
        ],
    )
    def test_sizes(self, text, size, folder, monkeypatch):
        assert parse_size(text) == size
        monkeypatch.setenv("LLMHASH_CACHE_SIZE", text)
        assert FeatureCache(folder).max_bytes == size

    @pytest.mark.parametrize("text", ["many", "4XB", "-1GB", "iB", "0"])
    def test_what_is_no_size_is_refused(self, text, folder, monkeypatch):
        monkeypatch.setenv("LLMHASH_CACHE_SIZE", text)
        with pytest.raises(InputError, match=r"size"):
            FeatureCache(folder)


class TestFolder:
    def test_from_the_environment(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LLMHASH_CACHE", str(tmp_path / "here"))
        assert FeatureCache().path.parent == tmp_path / "here"
        assert FeatureCache(tmp_path / "there").path.parent == tmp_path / "there"

    def test_the_users_by_default(self, monkeypatch):
        monkeypatch.delenv("LLMHASH_CACHE")
        assert FeatureCache().path.parent.name == "llmhash"

    @pytest.mark.parametrize("word", ["off", "OFF", "0"])
    def test_off(self, word, monkeypatch):
        monkeypatch.setenv("LLMHASH_CACHE", word)
        cache = FeatureCache()
        cache.put(vectors(keys(3)))
        assert not cache.enabled
        assert cache.get(keys(3)) == {}
        assert cache.clear() == 0
        assert cache.info()["path"] is None


class TestDamage:
    @pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\0" + b"\xff" * 50_000])
    def test_a_foreign_file_is_set_aside(self, folder, content):
        folder.mkdir()
        cache = FeatureCache(folder)
        cache.path.write_bytes(content)
        kept = vectors(keys(3))
        with pytest.warns(RuntimeWarning, match="corrupt"):
            cache.put(kept)
        assert same(cache.get(keys(3)), kept)
        (aside,) = folder.glob("*.corrupt-*")
        assert aside.read_bytes() == content

    def test_pages_damaged_under_an_open_cache(self, folder):
        cache = FeatureCache(folder)
        cache.put(vectors(keys(5_000)))
        cache.close()
        data = bytearray(cache.path.read_bytes())
        data[16_384:] = os.urandom(len(data) - 16_384)
        cache.path.write_bytes(data)
        with pytest.warns(RuntimeWarning, match="corrupt"):
            assert cache.get(keys(5_000)) == {}
        cache.put(vectors(keys(3)))
        assert len(FeatureCache(folder).get(keys(5))) == 3

    def test_a_folder_that_cannot_be_made_warns_once(self, tmp_path):
        (tmp_path / "file").touch()
        cache = FeatureCache(tmp_path / "file" / "below")
        with pytest.warns(RuntimeWarning, match="cannot be used") as caught:
            cache.put(vectors(keys(3)))
            cache.put(vectors(keys(3)))
            assert cache.get(keys(3)) == {}
        assert len(caught) == 1
        assert not cache.enabled

    def test_a_file_that_cannot_be_written_warns_and_finds_nothing(self, folder, monkeypatch):
        cache = FeatureCache(folder)
        cache.put(vectors(keys(3)))
        connection = cache._connect()
        connection.execute("PRAGMA query_only = ON")
        with pytest.warns(RuntimeWarning, match="readonly"):
            cache.put(vectors(keys(3, 10)))
        assert cache.get(keys(3)) == {}


def _write_forever(folder):
    cache = FeatureCache(folder)
    start = 0
    while True:
        cache.put(vectors(keys(100, start)))
        start += 100


def _write_some(cache, first):
    for start in range(first, first + 1_000, 50):
        cache.put(vectors(keys(50, start)))


class TestProcesses:
    def test_a_kill_loses_the_running_write_at_most(self, folder):
        process = multiprocessing.get_context("fork").Process(target=_write_forever, args=(folder,))
        process.start()
        cache = FeatureCache(folder)
        deadline = time.monotonic() + 20
        while cache.info()["entries"] < 1_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            entries = FeatureCache(folder).info()["entries"]
        assert entries >= 1_000
        assert entries % 100 == 0
        found = FeatureCache(folder).get(keys(100, entries - 100))
        assert same(found, vectors(keys(100, entries - 100)))
        with sqlite3.connect(cache.path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

    def test_several_write_at_once_even_across_a_fork(self, cache):
        cache.put(vectors(keys(1, 9_999)))
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_write_some, args=(cache, 500 * i)) for i in range(4)]
        for process in processes:
            process.start()
        _write_some(cache, 2_000)
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert cache.info()["entries"] == 3_001
        assert len(cache.get(keys(3_000))) == 3_000
