# pragma version 0.4.3
"""Data sets, their pieces, and proofs of possession that are checked: a subset of the interface of PDPVerifier.

Written for tests, from the interface alone. Challenges and proofs are as FilOzone/pdp has them: leaf number
keccak256(seed ‖ set ‖ i) mod range, and its siblings from below, hashed by sha256 with two bits cleared. It is generous
where a test needs no strictness: no fees, no limits on the finality of challenges.
"""

struct Cid:
    data: Bytes[64]

struct PackedCid:
    header: bytes32
    root: bytes32

struct Proof:
    leaf: bytes32
    proof: DynArray[bytes32, 40]

struct PieceIdAndOffset:
    pieceId: uint256
    offset: uint256

struct Piece:
    cid: Bytes[64]
    root: bytes32
    height: uint256
    leaves: uint256

interface Listener:
    def dataSetCreated(dataSetId: uint256, serviceProvider: address, extraData: Bytes[4096]): nonpayable
    def dataSetDeleted(dataSetId: uint256, deletedLeafCount: uint256, extraData: Bytes[4096]): nonpayable
    def piecesAdded(dataSetId: uint256, firstAdded: uint256, pieceData: DynArray[Cid, 40], extraData: Bytes[20480]): nonpayable
    def piecesScheduledRemove(dataSetId: uint256, pieceIds: DynArray[uint256, 40], extraData: Bytes[4096]): nonpayable
    def possessionProven(dataSetId: uint256, leafCount: uint256, seed: uint256, challengeCount: uint256): nonpayable
    def nextProvingPeriod(dataSetId: uint256, challengeEpoch: uint256, leafCount: uint256, extraData: Bytes[4096]): nonpayable
    def storageProviderChanged(dataSetId: uint256, old: address, new: address, extraData: Bytes[4096]): nonpayable

event DataSetCreated:
    setId: indexed(uint256)
    storageProvider: indexed(address)

event DataSetDeleted:
    setId: indexed(uint256)
    deletedLeafCount: uint256

event StorageProviderChanged:
    setId: indexed(uint256)
    oldStorageProvider: indexed(address)
    newStorageProvider: indexed(address)

event PiecesAdded:
    setId: indexed(uint256)
    pieceIds: DynArray[uint256, 40]
    pieceCids: DynArray[Cid, 40]

event PiecesAddedV2:
    setId: indexed(uint256)
    firstPieceId: uint256
    pieceCids: DynArray[PackedCid, 40]

event PiecesScheduledForRemoval:
    setId: indexed(uint256)
    pieceIds: DynArray[uint256, 40]

event PiecesRemoved:
    setId: indexed(uint256)
    pieceIds: DynArray[uint256, 200]

event NextProvingPeriod:
    setId: indexed(uint256)
    challengeEpoch: uint256
    leafCount: uint256

event PossessionProven:
    setId: indexed(uint256)
    challenges: DynArray[PieceIdAndOffset, 8]

TOP_BITS: constant(uint256) = max_value(uint256) - 192
RANDOMNESS: constant(address) = 0xfE00000000000000000000000000000000000006
legacy: public(bool)  # PiecesAdded, as before 3.5.0
nextSet: uint256
provider: HashMap[uint256, address]
proposed: HashMap[uint256, address]
listener: HashMap[uint256, address]
nextPiece: HashMap[uint256, uint256]
pieces: HashMap[uint256, HashMap[uint256, Piece]]
removals: HashMap[uint256, DynArray[uint256, 200]]
leafCount: HashMap[uint256, uint256]
challengeRange: HashMap[uint256, uint256]
nextEpoch: HashMap[uint256, uint256]
lastProven: HashMap[uint256, uint256]


@deploy
def __init__(legacy: bool):
    self.nextSet = 1
    self.legacy = legacy


@external
@view
def VERSION() -> String[16]:
    return "3.4.0" if self.legacy else "3.5.0"


@internal
def _create(provider: address, listener: address, extraData: Bytes[4096]) -> uint256:
    number: uint256 = self.nextSet
    self.nextSet += 1
    self.provider[number] = provider
    self.listener[number] = listener
    log DataSetCreated(setId=number, storageProvider=provider)
    extcall Listener(listener).dataSetCreated(number, provider, extraData)
    return number


@internal
@pure
def _parse(data: Bytes[64]) -> Piece:
    assert slice(data, 0, 4) == x"01559120", "Cid must be CommPv2"
    at: uint256 = 5
    padding: uint256 = 0
    bits: uint256 = 0
    for i: uint256 in range(9):
        octet: uint256 = convert(slice(data, at, 1), uint256)
        at += 1
        padding |= (octet & 127) << bits
        bits += 7
        if octet < 128:
            break
    height: uint256 = convert(slice(data, at, 1), uint256)
    at += 1
    assert len(data) == at + 32, "length"
    root: bytes32 = convert(slice(data, at, 32), bytes32)
    return Piece(cid=data, root=root, height=height, leaves=(1 << height) - ((128 * padding) // 127 >> 5))


@internal
@pure
def _packed(data: Bytes[64]) -> PackedCid:
    head: uint256 = 0
    size: uint256 = len(data)
    for i: uint256 in range(size - 32, bound=32):
        head = (head << 8) | convert(slice(data, i, 1), uint256)
    return PackedCid(header=convert(head, bytes32), root=convert(slice(data, size - 32, 32), bytes32))


@internal
def _add(setId: uint256, pieceData: DynArray[Cid, 40], extraData: Bytes[20480]) -> uint256:
    first: uint256 = self.nextPiece[setId]
    ids: DynArray[uint256, 40] = []
    packed: DynArray[PackedCid, 40] = []
    for one: Cid in pieceData:
        piece: Piece = self._parse(one.data)
        number: uint256 = self.nextPiece[setId]
        self.pieces[setId][number] = piece
        self.nextPiece[setId] = number + 1
        self.leafCount[setId] += piece.leaves
        ids.append(number)
        packed.append(self._packed(one.data))
    if self.legacy:
        log PiecesAdded(setId=setId, pieceIds=ids, pieceCids=pieceData)
    else:
        log PiecesAddedV2(setId=setId, firstPieceId=first, pieceCids=packed)
    extcall Listener(self.listener[setId]).piecesAdded(setId, first, pieceData, extraData)
    return first


@external
@payable
def createDataSet(listenerAddr: address, extraData: Bytes[4096]) -> uint256:
    return self._create(msg.sender, listenerAddr, extraData)


@external
@payable
def addPieces(setId: uint256, listenerAddr: address, pieceData: DynArray[Cid, 40], extraData: Bytes[20480]) -> uint256:
    """Set 0: a new one, with the pieces; `extraData` is then abi.encode(bytes, bytes)."""
    if setId == 0:
        create: Bytes[4096] = b""
        add: Bytes[16128] = b""
        create, add = abi_decode(extraData, (Bytes[4096], Bytes[16128]))
        number: uint256 = self._create(msg.sender, listenerAddr, create)
        self._add(number, pieceData, add)
        return number
    assert self.provider[setId] == msg.sender, "Only the storage provider can add pieces"
    return self._add(setId, pieceData, extraData)


@external
def schedulePieceDeletions(setId: uint256, pieceIds: DynArray[uint256, 40], extraData: Bytes[4096]):
    assert self.provider[setId] == msg.sender, "Only the storage provider"
    for number: uint256 in pieceIds:
        assert self.pieces[setId][number].leaves > 0, "not live"
        self.removals[setId].append(number)
    log PiecesScheduledForRemoval(setId=setId, pieceIds=pieceIds)
    extcall Listener(self.listener[setId]).piecesScheduledRemove(setId, pieceIds, extraData)


@external
def deleteDataSet(setId: uint256, extraData: Bytes[4096]):
    assert self.provider[setId] == msg.sender, "Only the storage provider"
    leaves: uint256 = self.leafCount[setId]
    self.provider[setId] = empty(address)
    self.leafCount[setId] = 0
    self.nextEpoch[setId] = 0
    log DataSetDeleted(setId=setId, deletedLeafCount=leaves)
    extcall Listener(self.listener[setId]).dataSetDeleted(setId, leaves, extraData)


@external
def proposeDataSetStorageProvider(setId: uint256, newStorageProvider: address):
    assert self.provider[setId] == msg.sender, "Only the storage provider"
    self.proposed[setId] = newStorageProvider


@external
def claimDataSetStorageProvider(setId: uint256, extraData: Bytes[4096]):
    assert self.proposed[setId] == msg.sender, "Only the proposed one"
    old: address = self.provider[setId]
    self.provider[setId] = msg.sender
    log StorageProviderChanged(setId=setId, oldStorageProvider=old, newStorageProvider=msg.sender)
    extcall Listener(self.listener[setId]).storageProviderChanged(setId, old, msg.sender, extraData)


@external
def nextProvingPeriod(setId: uint256, challengeEpoch: uint256, extraData: Bytes[4096]):
    assert self.provider[setId] == msg.sender, "Only the storage provider"
    gone: DynArray[uint256, 200] = self.removals[setId]
    for number: uint256 in gone:
        self.leafCount[setId] -= self.pieces[setId][number].leaves
        self.pieces[setId][number] = empty(Piece)
    if len(gone) > 0:
        self.removals[setId] = []
        log PiecesRemoved(setId=setId, pieceIds=gone)
    self.challengeRange[setId] = self.leafCount[setId]
    self.nextEpoch[setId] = challengeEpoch
    log NextProvingPeriod(setId=setId, challengeEpoch=challengeEpoch, leafCount=self.leafCount[setId])
    extcall Listener(self.listener[setId]).nextProvingPeriod(setId, challengeEpoch, self.leafCount[setId], extraData)


@internal
@view
def _find(setId: uint256, leaf: uint256) -> PieceIdAndOffset:
    rest: uint256 = leaf
    for number: uint256 in range(self.nextPiece[setId], bound=10000):
        leaves: uint256 = self.pieces[setId][number].leaves
        if rest < leaves:
            return PieceIdAndOffset(pieceId=number, offset=rest)
        rest -= leaves
    raise "Leaf index out of bounds"


@internal
@view
def _seed(setId: uint256) -> bytes32:
    epoch: uint256 = self.nextEpoch[setId]
    assert epoch != 0 and block.number >= epoch, "premature proof"
    return convert(raw_call(RANDOMNESS, abi_encode(epoch), max_outsize=32, is_static_call=True), bytes32)


@external
@payable
def provePossession(setId: uint256, proofs: DynArray[Proof, 8]):
    assert self.provider[setId] == msg.sender, "Only the storage provider"
    seed: bytes32 = self._seed(setId)
    found: DynArray[PieceIdAndOffset, 8] = []
    i: uint64 = 0
    for one: Proof in proofs:
        number: uint256 = convert(keccak256(concat(seed, convert(setId, bytes32), convert(i, bytes8))), uint256)
        challenge: PieceIdAndOffset = self._find(setId, number % self.challengeRange[setId])
        piece: Piece = self.pieces[setId][challenge.pieceId]
        assert len(one.proof) == piece.height, "proof length"
        at: uint256 = challenge.offset
        node: bytes32 = one.leaf
        for sibling: bytes32 in one.proof:
            node = sha256(concat(node, sibling)) if at % 2 == 0 else sha256(concat(sibling, node))
            node = convert(convert(node, uint256) & TOP_BITS, bytes32)
            at //= 2
        assert node == piece.root, "proof did not verify"
        found.append(challenge)
        i += 1
    self.lastProven[setId] = block.number
    log PossessionProven(setId=setId, challenges=found)
    count: uint256 = len(proofs)
    extcall Listener(self.listener[setId]).possessionProven(setId, self.leafCount[setId], convert(seed, uint256), count)


@external
@view
def dataSetLive(setId: uint256) -> bool:
    return self.provider[setId] != empty(address)


@internal
@view
def _live(setId: uint256):
    assert self.provider[setId] != empty(address), "Data set not live"


@external
@view
def getDataSetStorageProvider(setId: uint256) -> (address, address):
    self._live(setId)
    return self.provider[setId], self.proposed[setId]


@external
@view
def getDataSetListener(setId: uint256) -> address:
    self._live(setId)
    return self.listener[setId]


@external
@view
def getDataSetLeafCount(setId: uint256) -> uint256:
    self._live(setId)
    return self.leafCount[setId]


@external
@view
def getChallengeRange(setId: uint256) -> uint256:
    self._live(setId)
    return self.challengeRange[setId]


@external
@view
def getNextChallengeEpoch(setId: uint256) -> uint256:
    self._live(setId)
    return self.nextEpoch[setId]


@external
@view
def getDataSetLastProvenEpoch(setId: uint256) -> uint256:
    self._live(setId)
    return self.lastProven[setId]


@external
@view
def getNextPieceId(setId: uint256) -> uint256:
    self._live(setId)
    return self.nextPiece[setId]


@external
@view
def getScheduledRemovals(setId: uint256) -> DynArray[uint256, 200]:
    self._live(setId)
    return self.removals[setId]


@external
@view
def getActivePieceCount(setId: uint256) -> uint256:
    self._live(setId)
    count: uint256 = 0
    for number: uint256 in range(self.nextPiece[setId], bound=10000):
        if self.pieces[setId][number].leaves > 0:
            count += 1
    return count


@external
@view
def getActivePiecesByCursor(setId: uint256, startPieceId: uint256, limit: uint256) -> (DynArray[Cid, 200], DynArray[uint256, 200], bool):
    self._live(setId)
    cids: DynArray[Cid, 200] = []
    ids: DynArray[uint256, 200] = []
    for number: uint256 in range(startPieceId, self.nextPiece[setId], bound=10000):
        if self.pieces[setId][number].leaves == 0:
            continue
        if len(ids) == limit:
            return cids, ids, True
        cids.append(Cid(data=self.pieces[setId][number].cid))
        ids.append(number)
    return cids, ids, False


@external
@view
def getActivePieces(setId: uint256, offset: uint256, limit: uint256) -> (DynArray[Cid, 200], DynArray[uint256, 200], bool):
    self._live(setId)
    cids: DynArray[Cid, 200] = []
    ids: DynArray[uint256, 200] = []
    passed: uint256 = 0
    for number: uint256 in range(self.nextPiece[setId], bound=10000):
        if self.pieces[setId][number].leaves == 0:
            continue
        if passed < offset:
            passed += 1
            continue
        if len(ids) == limit:
            return cids, ids, True
        cids.append(Cid(data=self.pieces[setId][number].cid))
        ids.append(number)
    return cids, ids, False
