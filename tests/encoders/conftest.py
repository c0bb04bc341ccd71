import pytest

torch = pytest.importorskip("torch")

TEXTS = ["alpha beta", "gamma", "", "the quick brown fox", "a b c d e f g h", "alpha beta", "zeta " * 60]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setenv("LLMHASH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMHASH_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def texts():
    return list(TEXTS)
