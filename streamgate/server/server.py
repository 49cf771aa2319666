"""The whole house in one process: repository, engine, gateway and front ends on one event loop."""

from streamgate.link.contract import ModelRoute
from streamgate.server.front_ends import FrontEnds
from streamgate.server.models import ServedModels
from streamgate.server.ports import Ports, wanted_ports
from streamgate.server.scrape import gateway_metrics
from streamgate.server.settings import Settings
from streamgate.server.storing import STORING_SECONDS, stored_sequences_of
from streamgate.session.local import LocalGateway


class Server:
    """A StreamGate server in this process. Start it once, on a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stored = stored_sequences_of(settings)
        self._models = ServedModels(settings, stored=self._stored)
        self._front_ends: FrontEnds | None = None
        self._is_stopping = False
        self.ports: Ports | None = None

    async def start(self) -> Ports:
        """Load the models, open the ports.

        Raises StreamGateError when a model failed to load and `exit_on_error` is set, or when a
        port can't be bound; nothing is left running then.
        """
        try:
            if self._stored is not None:
                await self._stored.store.start()
            await self._models.load()
            gateway = self._models.gateway
            self._front_ends = front_ends = FrontEnds(
                gateway,
                self._settings,
                store=None if self._stored is None else self._stored.store,
            )
            self.ports = await front_ends.open(
                wanted_ports(self._settings),
                lambda: gateway_metrics(
                    gateway,
                    front_ends.resume_counts,
                    front_ends.tenants(),
                    self._stored.figures() if self._stored is not None else None,
                    front_ends.speech_lags(),
                ),
            )
        except BaseException:
            await self.stop()
            raise
        gateway.start()
        return self.ports

    async def stop(self) -> None:
        """Refuse what is new, let what is under way end, close everything. Safe to call twice."""
        if self._is_stopping:
            return
        self._is_stopping = True
        await self._models.drain()
        front_ends, self._front_ends = self._front_ends, None
        if front_ends is not None:
            await front_ends.close()
        await self._models.close()
        if self._stored is not None:
            await self._stored.close(STORING_SECONDS)

    def kill(self) -> None:
        """Everything ends with this process."""

    def route(self, name: str, version: str) -> ModelRoute:
        """A model that is ready. Raises StreamGateError as the gateway does for one that is not."""
        return self._models.table.route(name, version)

    @property
    def gateway(self) -> LocalGateway:
        """What front ends see, while the server runs."""
        return self._models.gateway
