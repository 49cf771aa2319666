"""What a store in Redis does beside what every store does: loss, limits, ways to reach it."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from streamgate.errors import ConfigError, StreamGateError
from streamgate.snapshot.contract import KeptKey, KeptResult, NotTakenError, WhyNot
from streamgate.snapshot.redis_scripts import RedisKeys
from streamgate.snapshot.redis_store import RedisLimits, RedisStore
from tests.snapshot.redis_server import RedisServer, free_port
from tests.snapshot.watching import Watcher, new_key
from tests.waiting import until

QUICK = RedisLimits(retry_seconds_min=0.01, retry_seconds_max=0.05, timeout_seconds=0.5)


@pytest_asyncio.fixture
async def store(own_server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(own_server.url, "one", QUICK)
    await store.start()
    yield store
    await store.close(0.1)


def keys_of(server: RedisServer, key: KeptKey) -> set[str]:
    with redis.Redis(port=server.port) as client:
        pattern = RedisKeys.of(key).head.removesuffix("head") + "*"
        return {found.decode() for found in client.scan_iter(pattern)}


async def test_a_dead_server_holds_nobody_up(own_server: RedisServer, store: RedisStore) -> None:
    watcher = Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    writer.append(0, b"0")
    watcher.put(writer, KeptResult(0, 0, b""))
    await until(lambda: len(watcher.stored) == 1)
    own_server.kill()
    for position in range(1, 5):
        writer.append(position, b"")
        watcher.put(writer, KeptResult(position, 0, b""))
    await until(lambda: len(watcher.stored) == 5)
    assert watcher.stored == [(position, 0) for position in range(5)]
    assert not store.health().is_up
    # From now on nobody waits at all.
    watcher.put(writer, KeptResult(5, 0, b""))
    assert watcher.stored[-1] == (5, 0)
    assert watcher.unkept == []


async def test_what_waited_is_written_when_it_is_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, keeps=True)
    server.start()
    store = RedisStore(server.url, "one", QUICK)
    await store.start()
    key, other_key, watcher = new_key(), new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    writer.append(0, b"0")
    watcher.put(writer, KeptResult(0, 0, b"0"))
    await until(lambda: len(watcher.stored) == 1)
    server.kill()
    later = store.open(other_key, "1", "", watcher)
    later.append(0, b"later")
    for position in range(1, 8):
        writer.append(position, b"%d" % position)
        watcher.put(writer, KeptResult(position, 0, b"%d" % position))
    writer.put_snapshot(4, b"state")
    writer.drop_results(3)
    await until(lambda: not store.health().is_up)
    server.start()
    await until(lambda: store.health().is_up and not store.health().waiting_bytes)
    assert store.health().reconnects == 1
    kept, _ = await store.take(key, Watcher(), only_from_dead=False)
    assert [step.data for step in kept.steps] == [b"5", b"6", b"7"]
    assert [result.data for result in kept.results] == [b"3", b"4", b"5", b"6", b"7"]
    assert watcher.stored == [(position, 0) for position in range(8)], "each is told once"
    kept, _ = await store.take(other_key, Watcher(), only_from_dead=False)
    assert [step.data for step in kept.steps] == [b"later"]
    await store.close(1)
    server.kill()


async def test_a_server_that_forgot_is_told_of(own_server: RedisServer, store: RedisStore) -> None:
    """It was killed and had kept nothing on disk: the sequence goes on, but can't be taken."""
    key, watcher = new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    writer.append(0, b"0")
    watcher.put(writer, KeptResult(0, 0, b""))
    await until(lambda: len(watcher.stored) == 1)
    own_server.kill()
    own_server.start()
    writer.append(1, b"1")
    watcher.put(writer, KeptResult(1, 0, b""))
    await until(lambda: bool(watcher.unkept))
    assert watcher.unkept == ["the store has lost it"]
    assert watcher.stored[-1] == (1, 0)
    watcher.put(writer, KeptResult(2, 0, b""))
    assert watcher.stored[-1] == (2, 0)
    with pytest.raises(NotTakenError) as caught:
        await store.take(key, Watcher(), only_from_dead=False)
    assert caught.value.why is WhyNot.UNKNOWN
    assert store.health().unkept == 1


async def test_who_outgrows_its_bound_is_kept_no_more(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, keeps=True)
    server.start()
    limits = RedisLimits(retry_seconds_max=0.05, timeout_seconds=0.5, sequence_bytes=10_000)
    store = RedisStore(server.url, "one", limits)
    await store.start()
    key, watcher, small_key, small_watcher = new_key(), Watcher(), new_key(), Watcher()
    writer, small = store.open(key, "1", "", watcher), store.open(small_key, "1", "", small_watcher)
    for each, told in ((writer, watcher), (small, small_watcher)):
        each.append(0, b"0")
        told.put(each, KeptResult(0, 0, b""))
    await until(lambda: watcher.stored == small_watcher.stored == [(0, 0)])
    server.kill()
    for position in range(1, 5):
        writer.append(position, b"x" * 3_000)
        small.append(position, b"x" * 1_000)
    assert watcher.unkept == ["more than 10000 bytes of it wait"]
    assert small_watcher.unkept == []
    assert store.health().waiting_bytes < 10_000
    server.start()
    await until(lambda: store.health().is_up and not store.health().waiting_bytes)
    # What is there of it is not all of it: nobody may go on with that.
    with pytest.raises(NotTakenError) as caught:
        await store.take(key, Watcher(), only_from_dead=False)
    assert caught.value.why is WhyNot.UNKNOWN
    kept, _ = await store.take(small_key, Watcher(), only_from_dead=False)
    assert kept.next_position == 5
    await store.close(1)
    server.kill()


async def test_connections_that_break_repeat_nothing(
    own_server: RedisServer, store: RedisStore
) -> None:
    """A write whose answer was lost is written again, and is there once."""
    key, watcher = new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    count = 1_000
    with redis.Redis(port=own_server.port) as client:
        for position in range(count):
            writer.append(position, b"%d" % position)
            watcher.put(writer, KeptResult(position, 0, b"%d" % position))
            if position % 3 == 0:
                await asyncio.sleep(0)
            if position % 50 == 25:
                client.client_kill_filter(_type="normal", skipme=True)
                await asyncio.sleep(0.02)
    await until(lambda: not store.health().waiting_bytes)
    kept, _ = await store.take(key, Watcher(), only_from_dead=False)
    assert [step.data for step in kept.steps] == [b"%d" % position for position in range(count)]
    assert [result.position for result in kept.results] == list(range(count))
    assert watcher.stored == [(position, 0) for position in range(count)]
    assert store.health().reconnects > 3


async def test_nothing_is_left_behind(own_server: RedisServer, store: RedisStore) -> None:
    """Blobs go when nothing names them; of one that ended, its reason and small results stay."""
    key, watcher = new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    for position in range(6):
        writer.append(position, b"s" * 200_000)
        watcher.put(writer, KeptResult(position, 0, b"r" * 200_000))
        writer.put_snapshot(position, b"t" * 200_000)
        writer.drop_results(1)
    await until(lambda: len(watcher.stored) == 6 and not store.health().waiting_bytes)
    writer.append(6, b"6")
    await until(lambda: not store.health().waiting_bytes)
    assert len([name for name in keys_of(own_server, key) if ":blob:" in name]) == 1
    writer.end("client_end")
    await until(lambda: not store._dirty)
    second = store.open(new_key(), "1", "", watcher)
    watcher.put(second, KeptResult(9, 0, b""))
    await until(lambda: (9, 0) in watcher.stored)
    assert keys_of(own_server, key) == {RedisKeys.of(key).head}
    assert store.health().waiting_bytes == 0


async def test_all_of_it_expires(own_server: RedisServer) -> None:
    """What its owner touches no more is gone after a while, and not before."""
    store = RedisStore(own_server.url, "one", RedisLimits(ttl_seconds=0.4))
    await store.start()
    key, watcher = new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    writer.append(0, b"s" * 200_000)
    writer.put_snapshot(0, b"t" * 200_000)
    watcher.put(writer, KeptResult(0, 0, b"r" * 200_000))
    await until(lambda: len(watcher.stored) == 1)
    # It has nothing to write, but lives.
    await asyncio.sleep(1)
    assert len(keys_of(own_server, key)) > 2
    for task in store._tasks:
        task.cancel()
    await until(lambda: not keys_of(own_server, key))
    await store.close(0)


async def test_a_missing_blob_is_no_state(own_server: RedisServer, store: RedisStore) -> None:
    key, watcher = new_key(), Watcher()
    writer = store.open(key, "1", "", watcher)
    writer.append(0, b"s" * 200_000)
    watcher.put(writer, KeptResult(0, 0, b""))
    await until(lambda: len(watcher.stored) == 1)
    with redis.Redis(port=own_server.port) as client:
        for name in keys_of(own_server, key):
            if ":blob:" in name:
                client.delete(name)
    with pytest.raises(NotTakenError) as caught:
        await store.take(key, Watcher(), only_from_dead=False)
    assert caught.value.why is WhyNot.BROKEN


async def test_a_server_that_is_full_holds_nobody_up(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--maxmemory", "2mb", "--maxmemory-policy", "noeviction")
    server.start()
    store = RedisStore(server.url, "one", QUICK)
    await store.start()
    watcher = Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    for position in range(30):
        writer.append(position, b"x" * 100_000)
        watcher.put(writer, KeptResult(position, 0, b""))
    await until(lambda: len(watcher.stored) == 30)
    assert not store.health().is_up
    await store.close(0)
    server.kill()


async def test_unix_socket(own_server: RedisServer) -> None:
    store = RedisStore(own_server.unix_url, "one")
    await store.start()
    watcher = Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    watcher.put(writer, KeptResult(0, 0, b""))
    await until(lambda: len(watcher.stored) == 1)
    await store.close(1)


async def test_password(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "open sesame")
    server.start()
    place = f"127.0.0.1:{server.port}/0"
    for url in (f"redis://{place}", f"redis://:wrong@{place}"):
        with pytest.raises(StreamGateError, match="the session store can't be reached: "):
            await RedisStore(url, "one").start()
    store = RedisStore(f"redis://:open%20sesame@{place}", "one")
    await store.start()
    await store.close(1)
    server.kill()


async def test_tls(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    certificate, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    subprocess.run(  # noqa: ASYNC221, nothing else happens meanwhile
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    server = RedisServer(
        tmp_path,
        *("--tls-port", str(port), "--tls-cert-file", str(certificate)),
        *("--tls-key-file", str(key), "--tls-auth-clients", "no"),
    )
    server.start()
    with pytest.raises(StreamGateError, match=r"can't be reached: .*certificate"):
        await RedisStore(f"rediss://localhost:{port}/0", "one").start()
    store = RedisStore(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}", "one")
    await store.start()
    watcher = Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    watcher.put(writer, KeptResult(0, 0, b""))
    await until(lambda: len(watcher.stored) == 1)
    await store.close(1)
    server.kill()


async def test_nobody_there() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", "one")
    with pytest.raises(StreamGateError, match="the session store can't be reached: "):
        await store.start()


@pytest.mark.parametrize("url", ["http://x", "redis", "", "redis://host:port/0"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="session store '"):
        RedisStore(url, "one")


async def test_closing_tells_all(own_server: RedisServer) -> None:
    store = RedisStore(own_server.url, "one", QUICK)
    await store.start()
    watcher = Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    own_server.kill()
    writer.append(0, b"")
    watcher.put(writer, KeptResult(0, 0, b""))
    await store.close(0)
    assert watcher.stored == [(0, 0)]
