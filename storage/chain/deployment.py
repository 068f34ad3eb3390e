"""`Deployment`: a chain and the contracts on it, as the `[filecoin]` table of a roster names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...configs.filecoin import Filecoin
from ..errors import ConfigError, WrongBytesError
from .agreed import Anchor, Chain
from .networks import NETWORKS, Network
from .pdp import PdpVerifier
from .rpc import EthRpc
from .typed_data import Domain
from .wallet import Wallet
from .warm_storage import ServiceAddresses, WarmStorage


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
        chain = Chain([EthRpc(url, env) for url in table.rpc], network.chain_id, table.confirmations, network.epoch_s)
        return cls(network, chain, PdpVerifier(chain, network.verifier), WarmStorage(chain, network.service))

    def addresses(self, at: Anchor) -> ServiceAddresses:
        """Of the contracts around the service, as it names them. Raises `WrongBytesError` where they are not the known
        ones of a public network: then an endpoint lies, or holdfast is older than they are.
        """
        found = self.service.addresses(at)
        known = self.network.around
        if known and (found.payments, found.token, found.registry, found.sessions) != known:
            raise WrongBytesError(
                f"the contracts of {self.network.name} are other ones than holdfast knows",
                hint="update holdfast, or ask another endpoint: nothing is signed for these",
            )
        return found

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
