"""The models of a server with all that they need: repository, engine and the gateway over them."""

import asyncio
import logging
from collections.abc import Callable

import streamgate
from streamgate.backend import registry
from streamgate.engine.device_turns import DeviceTurns
from streamgate.engine.host import AsyncioHost
from streamgate.errors import Code, EndWarning, StreamGateError, WarningCause
from streamgate.link.contract import ModelLink
from streamgate.repository.repository import ModelRepository
from streamgate.server.backend_folders import BackendFolders
from streamgate.server.gpus import look_for_gpus
from streamgate.server.lifecycle import Lifecycle
from streamgate.server.recordings import Recordings
from streamgate.server.settings import Settings
from streamgate.server.warning import warned
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import EXTENSIONS, LocalGateway, ModelControl
from streamgate.session.model_server import ModelServers
from streamgate.session.routing import ModelTable
from streamgate.session.stored.takeover import StoredSequences

log = logging.getLogger(__name__)


class ServedModels:
    """All models of this process. Started and stopped once, on its event loop.

    `control` gives what loads and unloads for clients, in place of the lifecycle itself. `stored`
    keeps sequences so that others can go on with them. Not `alone`, it serves front ends in other
    processes.
    """

    def __init__(
        self,
        settings: Settings,
        control: Callable[[ModelControl], ModelControl] | None = None,
        stored: StoredSequences | None = None,
        *,
        alone: bool = True,
    ) -> None:
        self._is_alone = alone
        self._settings = settings
        self._stored = stored
        self._control = control
        self.table = ModelTable()
        self.host: AsyncioHost | None = None
        self._lifecycle: Lifecycle | None = None
        self._gateway: LocalGateway | None = None
        self._recordings = Recordings()

    @property
    def gateway(self) -> LocalGateway:
        """What front ends see, from `load` to `stop`. It is not live before it is started."""
        assert self._gateway is not None, "there are no models"
        return self._gateway

    @property
    def lifecycle(self) -> Lifecycle:
        """What loads and unloads them, from `load` on."""
        assert self._lifecycle is not None, "there are no models"
        return self._lifecycle

    async def load(self) -> None:
        """Load what is to be loaded at start-up.

        Raises StreamGateError when the repository can't be read, or when a model failed to load and
        `exit_on_error` is set; what was loaded is to be stopped then.
        """
        settings = self._settings
        sight = look_for_gpus()
        log.info("%d GPUs%s", len(sight.gpus), f": {sight.trouble}" if sight.trouble else "")
        find_backend = BackendFolders(
            settings.backend_directory, registry.names, registry.find
        ).find
        repository = await asyncio.to_thread(
            ModelRepository,
            settings.model_repositories,
            auto_complete=settings.auto_complete_config,
            config_name=settings.model_config_name,
            gpu_count=len(sight.gpus),
            find_backend=find_backend,
        )
        await self._recordings.begin(settings, self.table.route)
        self.host = host = AsyncioHost(asyncio.get_running_loop())
        servers = ModelServers(host, self.table)
        self._lifecycle = Lifecycle(
            repository,
            find_backend,
            self.table,
            host,
            settings.control_mode,
            settings.exit_timeout_seconds,
            servers,
            self._front,
            durable=settings.durable,
            alone=self._is_alone,
            turns=(
                DeviceTurns(host, settings.device_turns, settings.stateless_share)
                if settings.device_turns
                else None
            ),
        )
        info = ServerInfo(settings.server_id, streamgate.__version__, EXTENSIONS)
        self._gateway = LocalGateway(
            self.table,
            self._lifecycle if self._control is None else self._control(self._lifecycle),
            info,
            strict=settings.strict_readiness,
            takeover=self._stored,
        )
        servers.attach(self._gateway)
        failures = await self._lifecycle.start(settings.load_models)
        if failures and settings.exit_on_error:
            names = ", ".join(sorted(failures))
            raise StreamGateError(
                Code.INTERNAL,
                f"failed to load all models ({names}); --exit-on-error=false serves the others",
            )

    async def drain(self, seconds: float | None = None) -> None:
        """Refuse what is new, let what is under way end, for at most so long (None: as the settings
        say), and close the models. Safe to call twice."""
        if self._gateway is None or self._lifecycle is None:
            return
        gateway, self._gateway = self._gateway, None
        gateway.stop_admission()
        limit = self._settings.exit_timeout_seconds if seconds is None else seconds
        # Not alone, front ends tell their clients.
        with warned(
            limit if self._is_alone else 0.0,
            lambda left: gateway.warn(EndWarning(WarningCause.STOP, left)),
        ):
            await self._lifecycle.stop(limit)

    async def close(self) -> None:
        """Write what was recorded last. Safe to call twice."""
        await self._recordings.close()

    def _front(self, link: ModelLink) -> ModelLink:
        """What stands in front of each model: who takes sequences of others has them recorded."""
        recorded = self._recordings.front(link)
        return recorded if self._stored is None else self._stored.front(recorded)
