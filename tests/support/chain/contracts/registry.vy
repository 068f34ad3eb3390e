# pragma version 0.4.3
"""Who stores, where, and for how much: a subset of the interface of ServiceProviderRegistry. Written for tests."""

struct Info:
    serviceProvider: address
    payee: address
    name: String[128]
    description: String[256]
    isActive: bool

struct Product:
    productType: uint8
    capabilityKeys: DynArray[String[32], 24]
    isActive: bool

struct WithProduct:
    providerId: uint256
    providerInfo: Info
    product: Product
    productCapabilityValues: DynArray[Bytes[128], 24]

struct Page:
    providers: DynArray[WithProduct, 20]
    hasMore: bool

count: uint256
known: HashMap[uint256, WithProduct]
byAddress: HashMap[address, uint256]


@external
@payable
def registerProvider(payee: address, name: String[128], description: String[256], productType: uint8, capabilityKeys: DynArray[String[32], 24], capabilityValues: DynArray[Bytes[128], 24]) -> uint256:
    self.count += 1
    self.known[self.count] = WithProduct(
        providerId=self.count,
        providerInfo=Info(serviceProvider=msg.sender, payee=payee, name=name, description=description, isActive=True),
        product=Product(productType=productType, capabilityKeys=capabilityKeys, isActive=True),
        productCapabilityValues=capabilityValues,
    )
    self.byAddress[msg.sender] = self.count
    return self.count


@external
def removeProvider():
    # as the real one does, it forgets what was offered: the URL among it
    self.known[self.byAddress[msg.sender]].product.capabilityKeys = []
    self.known[self.byAddress[msg.sender]].productCapabilityValues = []
    self.known[self.byAddress[msg.sender]].providerInfo.isActive = False
    self.known[self.byAddress[msg.sender]].product.isActive = False


@external
@view
def getProviderIdByAddress(providerAddress: address) -> uint256:
    return self.byAddress[providerAddress]


@external
@view
def getProvidersByProductType(productType: uint8, onlyActive: bool, offset: uint256, limit: uint256) -> Page:
    found: DynArray[WithProduct, 20] = []
    passed: uint256 = 0
    for i: uint256 in range(1, self.count + 1, bound=1000):
        one: WithProduct = self.known[i]
        if one.product.productType != productType or (onlyActive and not one.product.isActive):
            continue
        if passed < offset:
            passed += 1
            continue
        if len(found) == min(limit, 20):
            return Page(providers=found, hasMore=True)
        found.append(one)
    return Page(providers=found, hasMore=False)
