# pragma version 0.4.3
"""Keys that may sign for somebody, for what, and until when: the interface of SessionKeyRegistry. Written for tests."""

authorizationExpiry: public(HashMap[address, HashMap[address, HashMap[bytes32, uint256]]])


@external
def login(signer: address, expiry: uint256, permissions: DynArray[bytes32, 8], origin: String[64]):
    for one: bytes32 in permissions:
        self.authorizationExpiry[msg.sender][signer][one] = expiry


@external
def revoke(signer: address, permissions: DynArray[bytes32, 8], origin: String[64]):
    for one: bytes32 in permissions:
        self.authorizationExpiry[msg.sender][signer][one] = 0
