"""`Deployment`: a chain and the contracts on it, as the `[filecoin]` table of a roster names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...configs.filecoin import Filecoin
from ..errors import ConfigError
from .agreed import Chain
from .networks import NETWORKS, Network
from .pdp import PdpVerifier
from .rpc import EthRpc
from .typed_data import Domain
from .wallet import Wallet
from .warm_storage import WarmStorage


@dataclass(frozen=True, slots=True)
class Deployment:
    """Nothing is asked before something is read."""

    network: Network
    chain: Chain
    verifier: PdpVerifier
    service: WarmStorage

    @classmethod
    def of(cls, table: Filecoin, env: Mapping[str, str]) -> Deployment:
        """Of a roster's table."""
        if table.network == "devnet":
            assert table.chain_id is not None
            assert table.verifier is not None
            assert table.service is not None
            network = Network("devnet", table.chain_id, table.verifier, table.service)
        else:
            network = NETWORKS[table.network]
        chain = Chain([EthRpc(url, env) for url in table.rpc], network.chain_id, table.confirmations)
        return cls(network, chain, PdpVerifier(chain, network.verifier), WarmStorage(chain, network.service))

    @property
    def domain(self) -> Domain:
        """What signatures are for."""
        return Domain(self.network.chain_id, self.network.service)


def wallet_of(table: Filecoin, env: Mapping[str, str]) -> Wallet:
    """The key that the table names. Raises `ConfigError`."""
    if table.key_env is not None:
        return Wallet.from_environment(table.key_env, env)
    if table.key_file is not None:
        return Wallet.from_file(table.key_file)
    raise ConfigError("[filecoin] names no key to sign with", hint='add key_env = "VARIABLE" or key_file = "FILE"')
