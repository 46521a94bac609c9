// hardhat-viem: its clients, contracts and assertions.
import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { network } from "hardhat";
import { getAddress, parseEther, zeroAddress } from "viem";

const { viem, networkHelpers } = await network.create();

describe("viem", () => {
  async function deployed() {
    const [owner, other] = await viem.getWalletClients();
    const vault = await viem.deployContract("Vault");
    const reader = await viem.getPublicClient();
    await reader.waitForTransactionReceipt({ hash: await vault.write.deposit(["first"], { value: 1000n }) });
    return { vault, reader, dev: await viem.getTestClient(), owner, other };
  }
  let vault, reader, dev, owner, other;
  beforeEach(async () => { ({ vault, reader, dev, owner, other } = await networkHelpers.loadFixture(deployed)); });

  it("deploys, writes and reads", async () => {
    const receipt = await reader.waitForTransactionReceipt({ hash: await vault.write.deposit(["more"], { value: 5n }) });
    assert.equal(receipt.status, "success");
    assert.equal(await vault.read.totalSupply(), 1005n);
    const events = await vault.getEvents.Deposited({}, { fromBlock: 0n });
    assert.deepEqual(events.map(({ args }) => args).at(-1), { by: getAddress(owner.account.address), value: 5n, note: "more" });
    const theirs = await viem.getContractAt("Vault", vault.address, { client: { wallet: other } });
    await reader.waitForTransactionReceipt({ hash: await theirs.write.deposit([""], { value: 6n }) });
    assert.equal(await vault.read.balanceOf([other.account.address]), 6n);
  });

  it("emit, emitWithArgs, balancesHaveChanged", async () => {
    await viem.assertions.emit(vault.write.deposit(["more"], { value: 5n }), vault, "Deposited");
    await viem.assertions.emitWithArgs(vault.write.deposit(["more"], { value: 5n }), vault, "Transfer", [zeroAddress, getAddress(owner.account.address), 5n]);
    await viem.assertions.balancesHaveChanged(vault.write.withdraw([300n]), [
      { address: vault.address, amount: -300n },
      { address: owner.account.address, amount: 300n },
    ]);
    await assert.rejects(viem.assertions.emit(vault.write.transfer([other.account.address, 1n]), vault, "Deposited"));
  });

  // What is sent, what is simulated and what is estimated fail alike.
  for (const way of ["write", "simulate", "estimateGas"]) {
    it(`revert, ${way}`, async () => {
      const call = vault[way];
      await viem.assertions.revert(call.failSilently());
      await viem.assertions.revertWith(call.failWithReason(["why not"]), "why not");
      await viem.assertions.revertWithCustomError(call.deposit(["nothing"]), vault, "Empty");
      await viem.assertions.revertWithCustomErrorWithArgs(
        call.transfer([other.account.address, 1001n]), vault, "TooLittle", [getAddress(owner.account.address), 1000n, 1001n]);
      await viem.assertions.revert(call.divideBy([0n]));
      await assert.rejects(viem.assertions.revertWith(call.failWithReason(["why not"]), "because"));
    });
  }

  it("revert, with a gas limit", async () => {
    const gas = 200_000n;
    // Nothing is estimated: where the hash is given before the transaction has run, it fails in its block.
    if (process.env.ANSWERS === "pooled") {
      const hash = await vault.write.failWithReason(["why not"], { gas });
      assert.equal((await reader.waitForTransactionReceipt({ hash })).status, "reverted");
      return;
    }
    await viem.assertions.revertWith(vault.write.failWithReason(["why not"], { gas }), "why not");
    await viem.assertions.revertWithCustomError(vault.write.deposit(["nothing"], { gas }), vault, "Empty");
  });

  it("many writes at once", async () => {
    const hashes = await Promise.all(Array.from({ length: 20 }, (_, value) => vault.write.deposit([""], { value: BigInt(value + 1) })));
    const receipts = await Promise.all(hashes.map((hash) => reader.waitForTransactionReceipt({ hash })));
    assert.ok(receipts.every(({ status }) => status === "success"));
    assert.equal(await vault.read.totalSupply(), 1210n);
  });

  it("the test client", async () => {
    const address = "0x00000000000000000000000000000000000000bb";
    const before = await reader.getTransactionCount({ address });
    await dev.setBalance({ address, value: parseEther("2") });
    await dev.impersonateAccount({ address });
    const as = await viem.getWalletClient(address);
    await reader.waitForTransactionReceipt({ hash: await as.sendTransaction({ to: owner.account.address, value: 1n }) });
    assert.equal(await reader.getTransactionCount({ address }), before + 1);
    const { timestamp } = await reader.getBlock();
    await dev.increaseTime({ seconds: 500 });
    await dev.mine({ blocks: 2 });
    assert.ok((await reader.getBlock()).timestamp - timestamp >= 500n);
  });
});
