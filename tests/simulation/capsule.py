"""A capsule whose agent is the real one, down to its sockets: it can be killed, and comes back as another life under the same name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from simulation.process import Process
from simulation.workers import Keeper, Machine

from snakepit.spec import decode_spec
from snakepit.v1 import link_pb2
from snakepit_agent.agent import Agent
from snakepit_agent.settings import Settings
from snakepit_agent.workers import workers as agent_workers

if TYPE_CHECKING:
    from simulation.account import Account
    from simulation.faults import Plan
    from simulation.network import Network


class SimulatedCapsule:
    """`agent` is None while it is dead."""

    def __init__(
        self,
        name: str,
        pool: link_pb2.PoolSettings,
        account: Account,
        network: Network,
        descriptors: dict[int, Process],
        plan: Plan,
        pod_uid: str = "",
    ) -> None:
        spec = decode_spec(pool.spec)
        self.name, self._account, self._network, self._descriptors = name, account, network, descriptors
        self._slots = spec.worker.threads if spec.worker.profile == "thread" else 1
        self._plan, self.pool = plan, pool.pool
        self._settings = Settings(
            pool.pool,
            name,
            f"{name}.replicas:7800",
            spec,
            pool.spec,
            pool.uid,
            pool.generation,
            pod_uid=pod_uid,
            run_dir=Path("/nowhere"),
            large_bytes=plan.room,
            max_nested_calls=plan.nested_calls,
        )
        self._machine: Machine | None = None
        self.agent: Agent | None = None

    @property
    def processes(self) -> list[Process]:
        return list(self._machine.processes) if self._machine is not None else []

    def start(self) -> None:
        machine = self._machine = Machine(self._account, self._network.chance, self._descriptors, self._incarnation, self._slots)
        machine.asks, machine.pools = tuple(self._plan.asks), self._plan.pools
        with patch.object(agent_workers, "KeeperServer", lambda _folder, events: Keeper(machine, events)):
            self.agent = Agent(self._settings)
        self._listen(self.agent)
        self.agent.start()

    def _listen(self, agent: Agent) -> None:
        """The order in which an agent hears of calls is the one that it has to keep."""
        handlers = agent.handlers
        on_call = handlers["call"]

        def heard(replica: str, call: link_pb2.Call) -> None:
            self._account.heard(agent.incarnation, call)
            on_call(replica, call)

        handlers["call"] = heard

    def _incarnation(self) -> str:
        return self.agent.incarnation if self.agent is not None else ""

    async def die(self) -> None:
        """The agent's process is killed; the keeper ends its workers when it sees that."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        self._account.dead_agents.add(agent.incarnation)
        chance = self._network.chance
        for connection in [each for each in self._network.connections if each.dialler == self.name]:
            noticed = chance.random() * chance.choice([0.01, 1.0, 5.0])
            connection.cut(arrives=chance.random() < 0.5, up_notices=noticed, down_notices=0.0)
        await agent.stop()
