"""Scrapes over HTTP, at rest and during traffic."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.parser import text_string_to_metric_families

from streamgate.errors import StreamGateError
from streamgate.frontends.metrics import MetricsEndpoint
from streamgate.model.config import DirectStrategy, Instance, InstanceKind, SequenceBatching
from streamgate.server.scrape import gateway_metrics
from tests.backend.fake_models import fake_config
from tests.engine.house import Client, House, hashes, open_house, samples
from tests.frontends.fake_gateway import FakeGateway

CONFIG = fake_config(
    scheduling=SequenceBatching(DirectStrategy(), 4, max_idle_ns=60_000_000_000),
    instances=(Instance("fake_0", InstanceKind.CPU),),
)


class Scraper:
    """Scrapes one end point."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def families(self) -> dict[str, Metric]:
        async with self.session.get(self.url) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            text = await answer.text()
        return {family.name: family for family in text_string_to_metric_families(text)}

    async def value(self, name: str, **labels: str) -> float:
        return value_of(await self.families(), name, **labels)


def value_of(families: dict[str, Metric], name: str, **labels: str) -> float:
    """The one sample of the family with these labels."""
    (sample,) = [
        sample
        for sample in families[name].samples
        if labels.items() <= sample.labels.items() and "_bucket" not in sample.name
    ][:1]
    return sample.value


@asynccontextmanager
async def scraped() -> AsyncIterator[tuple[House, Scraper]]:
    async with open_house(CONFIG) as house, aiohttp.ClientSession() as session:
        endpoint = MetricsEndpoint(lambda: gateway_metrics(house.gateway))
        port = await endpoint.start("127.0.0.1", 0)
        try:
            yield house, Scraper(session, f"http://127.0.0.1:{port}/metrics")
        finally:
            await endpoint.stop(1)


async def test_what_a_sequence_leaves_behind() -> None:
    async with scraped() as (house, scraper):
        client = Client(house.connect(), 7)
        client.send(samples(1), start=True)
        client.send(samples(2))
        await client.collect()
        families = await scraper.families()
        assert value_of(families, "streamgate_sequences_active") == 1
        assert value_of(families, "streamgate_sequence_slots") == 4
        client.send(samples(3), end=True)
        await client.collect()
        await asyncio.sleep(0)
        families = await scraper.families()
        assert value_of(families, "nv_inference_request_success", model="fake", version="1") == 3
        assert value_of(families, "nv_inference_count") == 3
        assert value_of(families, "nv_inference_exec_count") == 3
        assert value_of(families, "nv_inference_request_failure", reason="BACKEND") == 0
        assert value_of(families, "streamgate_sequences_active") == 0
        assert value_of(families, "streamgate_sequences_started") == 1
        assert value_of(families, "streamgate_sequences_ended", reason="client_end") == 1
        assert value_of(families, "nv_inference_request_duration_us") > 0


async def test_the_process_and_the_models_own_metrics_are_there_too() -> None:
    counter = Counter("my_model_words", "Words that a model saw")
    try:
        counter.inc(3)
        async with scraped() as (_, scraper):
            families = await scraper.families()
        assert value_of(families, "my_model_words") == 3
        assert "process_resident_memory_bytes" in families
    finally:
        REGISTRY.unregister(counter)


async def test_scrapes_during_traffic_are_whole_and_never_go_back() -> None:
    async with scraped() as (house, scraper):

        async def traffic() -> None:
            for key in range(1, 40):
                client = Client(house.connect(), key)
                for step in range(5):
                    client.send(samples(step), start=step == 0, end=step == 4)
                assert hashes(await client.collect()) == client.expected()

        working = asyncio.create_task(traffic())
        seen = []
        while not working.done():
            families = await scraper.families()
            seen.append(value_of(families, "nv_inference_request_success"))
            buckets = [
                sample.value
                for sample in families["streamgate_step_rows"].samples
                if sample.name.endswith("_bucket")
            ]
            assert buckets == sorted(buckets)
        await working
        assert seen == sorted(seen)
        assert len(seen) > 1
        assert await scraper.value("nv_inference_request_success") == 39 * 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/metrics", 405), ("GET", "/", 404), ("HEAD", "/metrics", 200)],
)
async def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    async with scraped() as (_, scraper):
        url = scraper.url.replace("/metrics", path)
        async with scraper.session.request(method, url) as answer:
            assert answer.status == status


async def test_a_port_in_use_is_named() -> None:
    async with scraped() as (_, scraper):
        port = int(scraper.url.split(":")[2].split("/")[0])
        endpoint = MetricsEndpoint(lambda: gateway_metrics(FakeGateway()))
        with pytest.raises(StreamGateError, match=f"can't listen on 127.0.0.1:{port} for metrics"):
            await endpoint.start("127.0.0.1", port)
        await endpoint.stop(1)
