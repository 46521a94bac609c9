// hardhat-viem: its clients and contracts.
const { expect } = require("chai");
const { viem } = require("hardhat");
const { loadFixture } = require("@nomicfoundation/hardhat-network-helpers");
const { getAddress, parseEther } = require("viem");

describe("viem", () => {
  async function deployed() {
    const [owner, other] = await viem.getWalletClients();
    return { vault: await viem.deployContract("Vault"), reader: await viem.getPublicClient(), dev: await viem.getTestClient(), owner, other };
  }

  it("deploys, writes and reads", async () => {
    const { vault, reader, owner, other } = await loadFixture(deployed);
    const receipt = await reader.waitForTransactionReceipt({ hash: await vault.write.deposit(["first"], { value: 5n }) });
    expect(receipt.status).to.equal("success");
    expect(await vault.read.totalSupply()).to.equal(5n);
    const events = await vault.getEvents.Deposited();
    expect(events.map(({ args }) => args)).to.deep.equal([{ by: getAddress(owner.account.address), value: 5n, note: "first" }]);
    const theirs = await viem.getContractAt("Vault", vault.address, { client: { wallet: other } });
    await reader.waitForTransactionReceipt({ hash: await theirs.write.deposit([""], { value: 6n }) });
    expect(await vault.read.balanceOf([other.account.address])).to.equal(6n);
    expect(await reader.getBalance({ address: vault.address })).to.equal(11n);
  });

  it("errors have names and arguments", async () => {
    const { vault, owner, other } = await loadFixture(deployed);
    const { address } = other.account;
    await expect(vault.write.transfer([address, 1n])).to.be.rejectedWith(`TooLittle(address who, uint256 has, uint256 wants)`);
    await expect(vault.simulate.transfer([address, 1n])).to.be.rejectedWith(`(${getAddress(owner.account.address)}, 0, 1)`);
    await expect(vault.write.failWithReason(["why not"])).to.be.rejectedWith("why not");
    await expect(vault.read.onlyIfPositive([0n])).to.be.rejectedWith("not positive");
    await expect(vault.estimateGas.divideBy([0n])).to.be.rejected;
  });

  it("many writes at once", async () => {
    const { vault, reader } = await loadFixture(deployed);
    const hashes = await Promise.all(Array.from({ length: 20 }, (_, value) => vault.write.deposit([""], { value: BigInt(value + 1) })));
    const receipts = await Promise.all(hashes.map((hash) => reader.waitForTransactionReceipt({ hash })));
    expect(receipts.every(({ status }) => status === "success")).to.equal(true);
    expect(await vault.read.totalSupply()).to.equal(210n);
  });

  it("the test client", async () => {
    const { reader, dev, owner } = await loadFixture(deployed);
    const address = "0x00000000000000000000000000000000000000bb";
    const before = await reader.getTransactionCount({ address });
    await dev.setBalance({ address, value: parseEther("2") });
    await dev.impersonateAccount({ address });
    const as = await viem.getWalletClient(address);
    await reader.waitForTransactionReceipt({ hash: await as.sendTransaction({ to: owner.account.address, value: 1n }) });
    expect(await reader.getTransactionCount({ address })).to.equal(before + 1);
    const { timestamp } = await reader.getBlock();
    await dev.increaseTime({ seconds: 500 });
    await dev.mine({ blocks: 2 });
    expect((await reader.getBlock()).timestamp - timestamp >= 500n).to.equal(true);
  });
});
