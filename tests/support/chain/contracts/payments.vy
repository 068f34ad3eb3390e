# pragma version 0.4.3
"""Deposits, and who may spend them: a subset of the interface of FilecoinPay. Written for tests.

What operators spend goes by `charge`, which the real one does not have: its rails are many calls.
"""

interface Token:
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

struct Account:
    funds: uint256
    lockupCurrent: uint256
    lockupRate: uint256
    lockupLastSettledAt: uint256

struct Approval:
    isApproved: bool
    rateAllowance: uint256
    lockupAllowance: uint256
    rateUsage: uint256
    lockupUsage: uint256
    maxLockupPeriod: uint256

accounts: public(HashMap[address, HashMap[address, Account]])
operatorApprovals: public(HashMap[address, HashMap[address, HashMap[address, Approval]]])


@external
@payable
def deposit(token: address, to: address, amount: uint256):
    extcall Token(token).transferFrom(msg.sender, self, amount)
    self.accounts[token][to].funds += amount


@external
def setOperatorApproval(token: address, operator: address, approved: bool, rateAllowance: uint256, lockupAllowance: uint256, maxLockupPeriod: uint256):
    self.operatorApprovals[token][msg.sender][operator].isApproved = approved
    self.operatorApprovals[token][msg.sender][operator].rateAllowance = rateAllowance
    self.operatorApprovals[token][msg.sender][operator].lockupAllowance = lockupAllowance
    self.operatorApprovals[token][msg.sender][operator].maxLockupPeriod = maxLockupPeriod


@external
@view
def getAccountInfoIfSettled(token: address, owner: address) -> (uint256, uint256, uint256, uint256):
    one: Account = self.accounts[token][owner]
    return max_value(uint256), one.funds, one.funds - one.lockupCurrent, one.lockupRate


@external
def charge(token: address, payer: address, payee: address, fees: uint256, rate: uint256, lockup: uint256):
    approval: Approval = self.operatorApprovals[token][payer][msg.sender]
    assert approval.isApproved, "OperatorNotApproved"
    assert approval.rateUsage + rate <= approval.rateAllowance, "InsufficientRateAllowance"
    assert approval.lockupUsage + lockup + fees <= approval.lockupAllowance, "InsufficientLockupAllowance"
    one: Account = self.accounts[token][payer]
    assert one.funds >= one.lockupCurrent + lockup + fees, "InsufficientLockupFunds"
    self.accounts[token][payer].funds -= fees
    self.accounts[token][payer].lockupCurrent += lockup
    self.accounts[token][payer].lockupRate += rate
    self.accounts[token][payee].funds += fees
    self.operatorApprovals[token][payer][msg.sender].rateUsage += rate
    self.operatorApprovals[token][payer][msg.sender].lockupUsage += lockup + fees
