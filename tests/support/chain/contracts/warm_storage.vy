# pragma version 0.4.3
"""Who pays for which data set, on whose signature, and which proving periods were kept: a subset of the interface of
FilecoinWarmStorageService and of its state view, which are one contract here.

Written for tests, from the interface alone. Signatures (EIP-712) and their nonces are checked in earnest: what a client
signs wrongly, or twice, does not pass here either.
"""

interface Payments:
    def charge(token: address, payer: address, payee: address, fees: uint256, rate: uint256, lockup: uint256): nonpayable

interface Registry:
    def getProviderIdByAddress(providerAddress: address) -> uint256: view

interface Sessions:
    def authorizationExpiry(user: address, signer: address, permission: bytes32) -> uint256: view

struct Cid:
    data: Bytes[64]

struct DataSet:
    pdpRailId: uint256
    cacheMissRailId: uint256
    cdnRailId: uint256
    payer: address
    payee: address
    serviceProvider: address
    commissionBps: uint256
    clientDataSetId: uint256
    pdpEndEpoch: uint256
    providerId: uint256
    dataSetId: uint256

struct Rates:
    storagePerTibPerMonth: uint256
    datasetFeePerMonth: uint256
    cdnEgressPerTib: uint256
    cacheMissEgressPerTib: uint256

struct Fees:
    createDataSetFee: uint256
    addPiecesBaseFee: uint256
    addPiecesPerPieceFee: uint256
    schedulePieceRemovalsFee: uint256
    terminateFee: uint256

struct Lockups:
    lifecycleReserveTarget: uint256
    replenishThreshold: uint256
    defaultLockupPeriod: uint256
    cdnLockupAmount: uint256
    cacheMissLockupAmount: uint256
    cdnLockupPeriod: uint256

struct PriceList:
    token: address
    rates: Rates
    fees: Fees
    lockups: Lockups

event FaultRecord:
    dataSetId: indexed(uint256)
    periodsFaulted: uint256
    deadline: uint256

event PieceAdded:
    dataSetId: indexed(uint256)
    pieceId: indexed(uint256)
    pieceCid: Cid

ENTRY: constant(bytes32) = keccak256("MetadataEntry(string key,string value)")
CREATE: constant(bytes32) = keccak256("CreateDataSet(uint256 clientDataSetId,address payee,MetadataEntry[] metadata)MetadataEntry(string key,string value)")
CID: constant(bytes32) = keccak256("Cid(bytes data)")
PIECE_METADATA: constant(bytes32) = keccak256("PieceMetadata(uint256 pieceIndex,MetadataEntry[] metadata)MetadataEntry(string key,string value)")
ADD: constant(bytes32) = keccak256("AddPieces(uint256 clientDataSetId,uint256 nonce,Cid[] pieceData,PieceMetadata[] pieceMetadata)Cid(bytes data)MetadataEntry(string key,string value)PieceMetadata(uint256 pieceIndex,MetadataEntry[] metadata)")
REMOVE: constant(bytes32) = keccak256("SchedulePieceRemovals(uint256 clientDataSetId,uint256[] pieceIds)")
DOMAIN: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")

EPOCHS_PER_MONTH: constant(uint256) = 86400
TIB: constant(uint256) = 1 << 40

pdpVerifierAddress: public(address)
paymentsContractAddress: public(address)
usdfcTokenAddress: public(address)
serviceProviderRegistry: public(address)
sessionKeyRegistry: public(address)
price: PriceList
approved: DynArray[uint256, 50]
maxProvingPeriod: uint256
challengeWindow: uint256
sets: HashMap[uint256, DataSet]
sizes: HashMap[uint256, uint256]  # leaves
metadata: HashMap[uint256, DynArray[String[32], 10]]
values: HashMap[uint256, DynArray[String[128], 10]]
ofPayer: HashMap[address, DynArray[uint256, 200]]
clientNonces: public(HashMap[address, HashMap[uint256, uint256]])
provingActivationEpoch: public(HashMap[uint256, uint256])
deadlines: HashMap[uint256, uint256]
provenThisPeriod: public(HashMap[uint256, bool])
provenPeriods: public(HashMap[uint256, HashMap[uint256, bool]])


@deploy
def __init__(verifier: address, payments: address, token: address, registry: address, sessions: address, maxProvingPeriod: uint256, challengeWindow: uint256):
    self.pdpVerifierAddress = verifier
    self.paymentsContractAddress = payments
    self.usdfcTokenAddress = token
    self.serviceProviderRegistry = registry
    self.sessionKeyRegistry = sessions
    self.maxProvingPeriod = maxProvingPeriod
    self.challengeWindow = challengeWindow
    self.price = PriceList(
        token=token,
        rates=Rates(storagePerTibPerMonth=2500000000000000000, datasetFeePerMonth=24000000000000000, cdnEgressPerTib=0, cacheMissEgressPerTib=0),
        fees=Fees(createDataSetFee=2500000000000000, addPiecesBaseFee=500000000000000, addPiecesPerPieceFee=300000000000000, schedulePieceRemovalsFee=0, terminateFee=0),
        lockups=Lockups(lifecycleReserveTarget=100000000000000000, replenishThreshold=0, defaultLockupPeriod=86400, cdnLockupAmount=0, cacheMissLockupAmount=0, cdnLockupPeriod=0),
    )


@external
@view
def VERSION() -> String[16]:
    return "1.3.0"


@external
@view
def viewContractAddress() -> address:
    return self


@external
def addApprovedProvider(providerId: uint256):
    self.approved.append(providerId)


@external
@view
def getApprovedProviders(offset: uint256, limit: uint256) -> DynArray[uint256, 50]:
    return self.approved


@external
@view
def getPriceList() -> PriceList:
    return self.price


@internal
@view
def _signer(structHash: bytes32, signature: Bytes[65]) -> address:
    domain: bytes32 = keccak256(abi_encode(DOMAIN, keccak256("FilecoinWarmStorageService"), keccak256("1"), chain.id, self))
    digest: bytes32 = keccak256(concat(x"1901", domain, structHash))
    assert len(signature) == 65, "InvalidSignatureLength"
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    return ecrecover(digest, v, r, s)


@internal
@view
def _authorize(payer: address, permission: bytes32, structHash: bytes32, signature: Bytes[65]):
    signer: address = self._signer(structHash, signature)
    if signer != payer:
        until: uint256 = staticcall Sessions(self.sessionKeyRegistry).authorizationExpiry(payer, signer, permission)
        assert until > block.timestamp, "InvalidSignature"


@internal
@pure
def _entries(keys: DynArray[String[32], 10], values: DynArray[String[128], 10]) -> bytes32:
    assert len(keys) == len(values), "MetadataKeyAndValueLengthMismatch"
    hashes: DynArray[bytes32, 40] = []
    for i: uint256 in range(len(keys), bound=10):
        hashes.append(keccak256(abi_encode(ENTRY, keccak256(keys[i]), keccak256(values[i]))))
    return self._together(hashes)


@internal
@pure
def _together(hashes: DynArray[bytes32, 40]) -> bytes32:
    """How EIP-712 hashes an array."""
    if len(hashes) == 0:
        return keccak256(b"")
    return keccak256(slice(abi_encode(hashes), 64, 32 * len(hashes)))


@external
def dataSetCreated(dataSetId: uint256, serviceProvider: address, extraData: Bytes[4096]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    payer: address = empty(address)
    clientDataSetId: uint256 = 0
    keys: DynArray[String[32], 10] = []
    values: DynArray[String[128], 10] = []
    signature: Bytes[65] = b""
    payer, clientDataSetId, keys, values, signature = abi_decode(
        extraData, (address, uint256, DynArray[String[32], 10], DynArray[String[128], 10], Bytes[65])
    )
    assert self.clientNonces[payer][clientDataSetId] == 0, "ClientDataSetAlreadyRegistered"
    self.clientNonces[payer][clientDataSetId] = dataSetId
    provider: uint256 = staticcall Registry(self.serviceProviderRegistry).getProviderIdByAddress(serviceProvider)
    assert provider != 0, "ProviderNotRegistered"
    structHash: bytes32 = keccak256(abi_encode(CREATE, clientDataSetId, serviceProvider, self._entries(keys, values)))
    self._authorize(payer, CREATE, structHash, signature)
    fees: uint256 = self.price.fees.createDataSetFee
    reserve: uint256 = self.price.lockups.lifecycleReserveTarget
    extcall Payments(self.paymentsContractAddress).charge(self.usdfcTokenAddress, payer, serviceProvider, fees, 0, reserve)
    self.sets[dataSetId] = DataSet(
        pdpRailId=dataSetId, cacheMissRailId=0, cdnRailId=0, payer=payer, payee=serviceProvider,
        serviceProvider=serviceProvider, commissionBps=0, clientDataSetId=clientDataSetId, pdpEndEpoch=0,
        providerId=provider, dataSetId=dataSetId,
    )
    self.metadata[dataSetId] = keys
    self.values[dataSetId] = values
    self.ofPayer[payer].append(dataSetId)


@external
def piecesAdded(dataSetId: uint256, firstAdded: uint256, pieceData: DynArray[Cid, 40], extraData: Bytes[20480]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    one: DataSet = self.sets[dataSetId]
    assert one.payer != empty(address), "DataSetNotRegistered"
    assert one.pdpEndEpoch == 0, "DataSetPaymentAlreadyTerminated"
    nonce: uint256 = 0
    keys: DynArray[DynArray[String[32], 1], 40] = []
    values: DynArray[DynArray[String[128], 1], 40] = []
    signature: Bytes[65] = b""
    nonce, keys, values, signature = abi_decode(
        extraData, (uint256, DynArray[DynArray[String[32], 1], 40], DynArray[DynArray[String[128], 1], 40], Bytes[65])
    )
    assert self.clientNonces[one.payer][nonce] == 0, "ClientDataSetAlreadyRegistered"
    self.clientNonces[one.payer][nonce] = ((firstAdded + len(pieceData)) << 128) | dataSetId
    assert len(keys) == len(pieceData) and len(values) == len(pieceData), "MetadataArrayCountMismatch"
    cids: DynArray[bytes32, 40] = []
    about: DynArray[bytes32, 40] = []
    leaves: uint256 = 0
    for i: uint256 in range(len(pieceData), bound=40):
        cids.append(keccak256(abi_encode(CID, keccak256(pieceData[i].data))))
        flatKeys: DynArray[String[32], 10] = []
        flatValues: DynArray[String[128], 10] = []
        for key: String[32] in keys[i]:
            flatKeys.append(key)
        for text: String[128] in values[i]:
            flatValues.append(text)
        about.append(keccak256(abi_encode(PIECE_METADATA, i, self._entries(flatKeys, flatValues))))
        leaves += self._leaves(pieceData[i].data)
        log PieceAdded(dataSetId=dataSetId, pieceId=firstAdded + i, pieceCid=pieceData[i])
    structHash: bytes32 = keccak256(
        abi_encode(ADD, one.clientDataSetId, nonce, self._together(cids), self._together(about))
    )
    self._authorize(one.payer, ADD, structHash, signature)
    fees: uint256 = self.price.fees.addPiecesBaseFee + len(pieceData) * self.price.fees.addPiecesPerPieceFee
    before: uint256 = self._rate(self.sizes[dataSetId])
    self.sizes[dataSetId] += leaves
    rate: uint256 = self._rate(self.sizes[dataSetId]) - before
    lockup: uint256 = rate * self.price.lockups.defaultLockupPeriod
    extcall Payments(self.paymentsContractAddress).charge(self.usdfcTokenAddress, one.payer, one.payee, fees, rate, lockup)


@internal
@pure
def _leaves(data: Bytes[64]) -> uint256:
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
    return (1 << convert(slice(data, at, 1), uint256)) - ((128 * padding) // 127 >> 5)


@internal
@view
def _rate(leaves: uint256) -> uint256:
    if leaves == 0:
        return 0
    rates: Rates = self.price.rates
    raw: uint256 = leaves * 32 * 127 // 128
    return raw * rates.storagePerTibPerMonth // (TIB * EPOCHS_PER_MONTH) + rates.datasetFeePerMonth // EPOCHS_PER_MONTH


@external
def piecesScheduledRemove(dataSetId: uint256, pieceIds: DynArray[uint256, 40], extraData: Bytes[4096]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    one: DataSet = self.sets[dataSetId]
    ids: DynArray[bytes32, 40] = []
    for number: uint256 in pieceIds:
        ids.append(convert(number, bytes32))
    structHash: bytes32 = keccak256(abi_encode(REMOVE, one.clientDataSetId, self._together(ids)))
    signature: Bytes[65] = abi_decode(extraData, (Bytes[65]))
    self._authorize(one.payer, REMOVE, structHash, signature)


@external
def terminateService(dataSetId: uint256):
    one: DataSet = self.sets[dataSetId]
    assert msg.sender in [one.payer, one.payee], "CallerNotPayerOrPayee"
    self.sets[dataSetId].pdpEndEpoch = block.number + 600  # the real one: 30 days, which are long for a test


@external
def dataSetDeleted(dataSetId: uint256, deletedLeafCount: uint256, extraData: Bytes[4096]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    self.sets[dataSetId].pdpEndEpoch = block.number
    self.deadlines[dataSetId] = 0


@external
def storageProviderChanged(dataSetId: uint256, old: address, new: address, extraData: Bytes[4096]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    self.sets[dataSetId].serviceProvider = new


@external
def possessionProven(dataSetId: uint256, leafCount: uint256, seed: uint256, challengeCount: uint256):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    deadline: uint256 = self.deadlines[dataSetId]
    assert not self.provenThisPeriod[dataSetId], "ProofAlreadySubmitted"
    assert challengeCount == 5, "InvalidChallengeCount"
    assert deadline != 0, "ProvingNotStarted"
    assert block.number <= deadline, "ProvingPeriodPassed"
    assert block.number + self.challengeWindow >= deadline, "ChallengeWindowTooEarly"
    self.provenThisPeriod[dataSetId] = True
    self.provenPeriods[dataSetId][self._period(dataSetId, deadline)] = True


@internal
@view
def _period(dataSetId: uint256, deadline: uint256) -> uint256:
    return (deadline - self.provingActivationEpoch[dataSetId]) // self.maxProvingPeriod - 1


@external
def nextProvingPeriod(dataSetId: uint256, challengeEpoch: uint256, leafCount: uint256, extraData: Bytes[4096]):
    assert msg.sender == self.pdpVerifierAddress, "OnlyPDPVerifierAllowed"
    deadline: uint256 = self.deadlines[dataSetId]
    if deadline == 0:
        self.provingActivationEpoch[dataSetId] = block.number
        self.deadlines[dataSetId] = block.number + self.maxProvingPeriod
        return
    skipped: uint256 = 0
    if block.number > deadline:
        skipped = (block.number - deadline - 1) // self.maxProvingPeriod
    faults: uint256 = skipped
    if not self.provenThisPeriod[dataSetId]:
        faults += 1
    if faults > 0:
        log FaultRecord(dataSetId=dataSetId, periodsFaulted=faults, deadline=deadline)
    self.deadlines[dataSetId] = deadline + self.maxProvingPeriod * (skipped + 1)
    self.provenThisPeriod[dataSetId] = False


@external
@view
def provingDeadline(setId: uint256) -> uint256:
    return self.deadlines[setId]


@external
@view
def getPDPConfig() -> (uint64, uint256, uint256, uint256):
    return convert(self.maxProvingPeriod, uint64), self.challengeWindow, 5, block.number + self.maxProvingPeriod - self.challengeWindow


@external
@view
def getDataSet(dataSetId: uint256) -> DataSet:
    return self.sets[dataSetId]


@external
@view
def getClientDataSets(client: address, offset: uint256, limit: uint256) -> DynArray[DataSet, 200]:
    found: DynArray[DataSet, 200] = []
    i: uint256 = 0
    for number: uint256 in self.ofPayer[client]:
        if i >= offset and len(found) < limit:
            found.append(self.sets[number])
        i += 1
    return found


@external
@view
def getAllDataSetMetadata(dataSetId: uint256) -> (DynArray[String[32], 10], DynArray[String[128], 10]):
    return self.metadata[dataSetId], self.values[dataSetId]
