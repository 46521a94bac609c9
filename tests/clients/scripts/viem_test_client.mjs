// node viem_test_client.mjs HTTP_URL MODE
// Every action of viem's test client, in the mode `anvil` or `hardhat`.
import assert from "node:assert/strict";
import { createPublicClient, createTestClient, createWalletClient, http, parseEther, parseGwei } from "viem";
import { foundry, hardhat } from "viem/chains";

const [url, mode] = process.argv.slice(2);
const transport = http(url);
const chain = mode === "anvil" ? foundry : hardhat;
const reader = createPublicClient({ chain, transport, pollingInterval: 20, cacheTime: 0 });
const dev = createTestClient({ chain, mode, transport });
const [first, second] = await createWalletClient({ chain, transport }).getAddresses();
const wallet = createWalletClient({ account: first, chain, transport });
const someone = "0x00000000000000000000000000000000000000aa";
const word = (value) => `0x${value.toString(16).padStart(64, "0")}`;
const mined = async (hash) => reader.waitForTransactionReceipt({ hash, timeout: 10_000 });

const actions = {
  async snapshot() {
    const before = await reader.getBalance({ address: someone });
    const id = await dev.snapshot();
    await dev.setBalance({ address: someone, value: parseEther("3") });
    await dev.mine({ blocks: 2 });
    const height = await reader.getBlockNumber();
    await dev.revert({ id });
    assert.equal(await reader.getBlockNumber(), height - 2n);
    assert.equal(await reader.getBalance({ address: someone }), before);
  },
  async setBalance() {
    await dev.setBalance({ address: someone, value: parseEther("3") });
    assert.equal(await reader.getBalance({ address: someone }), parseEther("3"));
  },
  async setCodeNonceStorage() {
    await dev.setCode({ address: someone, bytecode: "0x60005460005260206000f3" });
    await dev.setStorageAt({ address: someone, index: 0, value: word(7) });
    assert.equal(await reader.getStorageAt({ address: someone, slot: "0x0" }), word(7));
    assert.equal((await reader.call({ to: someone })).data, word(7));
    await dev.setNonce({ address: someone, nonce: 9 });
    assert.equal(await reader.getTransactionCount({ address: someone }), 9);
  },
  async impersonateAccount() {
    const address = "0x00000000000000000000000000000000000000dd";
    await dev.setBalance({ address, value: parseEther("3") });
    const as = createWalletClient({ account: address, chain, transport });
    await assert.rejects(as.sendTransaction({ to: second, value: 1n }));
    await dev.impersonateAccount({ address });
    const receipt = await mined(await as.sendTransaction({ to: second, value: 1n }));
    assert.equal(receipt.from, address);
    await dev.stopImpersonatingAccount({ address });
    await assert.rejects(as.sendTransaction({ to: second, value: 1n }));
  },
  async time() {
    const { timestamp } = await reader.getBlock();
    await dev.increaseTime({ seconds: 420 });
    await dev.mine({ blocks: 1 });
    const later = await reader.getBlock();
    assert.ok(later.timestamp >= timestamp + 420n && later.timestamp < timestamp + 480n, `${timestamp} ${later.timestamp}`);
    await dev.setNextBlockTimestamp({ timestamp: later.timestamp + 1000n });
    await mined(await wallet.sendTransaction({ to: second, value: 1n }));
    assert.equal((await reader.getBlock()).timestamp, later.timestamp + 1000n);
  },
  async mine() {
    const { number } = await reader.getBlock();
    await dev.mine({ blocks: 4, interval: 60 });
    const blocks = await Promise.all([2n, 3n, 4n].map((more) => reader.getBlock({ blockNumber: number + more })));
    assert.equal(await reader.getBlockNumber(), number + 4n);
    assert.deepEqual([1, 2].map((index) => blocks[index].timestamp - blocks[index - 1].timestamp), [60n, 60n]);
  },
  async automine() {
    assert.equal(await dev.getAutomine(), true);
    await dev.setAutomine(false);
    assert.equal(await dev.getAutomine(), false);
    const nonce = await reader.getTransactionCount({ address: first });
    const kept = await wallet.sendTransaction({ to: second, value: 1n });
    const dropped = await wallet.sendTransaction({ to: second, value: 2n });
    assert.deepEqual(await dev.getTxpoolStatus(), { pending: 2, queued: 0 });
    const pooled = Object.entries((await dev.getTxpoolContent()).pending);
    assert.equal(pooled.length, 1);
    assert.equal(pooled[0][0].toLowerCase(), first.toLowerCase());
    assert.equal(pooled[0][1][nonce].hash, kept);
    await dev.dropTransaction({ hash: dropped });
    assert.deepEqual(await dev.getTxpoolStatus(), { pending: 1, queued: 0 });
    await dev.mine({ blocks: 1 });
    assert.equal((await reader.getTransactionReceipt({ hash: kept })).status, "success");
    await assert.rejects(reader.getTransaction({ hash: dropped }));
    await dev.setAutomine(true);
  },
  async inspectTxpool() {
    await dev.setAutomine(false);
    const nonce = await reader.getTransactionCount({ address: first });
    await wallet.sendTransaction({ to: second, value: 1n, gas: 21_000n });
    const inspected = Object.values((await dev.inspectTxpool()).pending);
    assert.match(inspected[0][nonce], /1 wei \+ 21000 (gas )?[x×] \d+ wei/);
    await dev.mine({ blocks: 1 });
    await dev.setAutomine(true);
  },
  async setIntervalMining() {
    const height = await reader.getBlockNumber();
    await dev.setAutomine(false);
    await dev.setIntervalMining({ interval: 1 });
    try {
      await new Promise((resolve, reject) => {
        const stop = reader.watchBlockNumber({ onBlockNumber: (number) => number > height + 1n && (stop(), resolve()), onError: reject });
        setTimeout(() => (stop(), reject(new Error("no two blocks within ten seconds"))), 10_000).unref();
      });
    } finally {
      await dev.setIntervalMining({ interval: 0 });
      await dev.setAutomine(true);
    }
  },
  async block() {
    await dev.setBlockGasLimit({ gasLimit: 25_000_000n });
    await dev.setCoinbase({ address: someone });
    await dev.setNextBlockBaseFeePerGas({ baseFeePerGas: parseGwei("20") });
    await dev.mine({ blocks: 1 });
    const block = await reader.getBlock();
    assert.equal(block.gasLimit, 25_000_000n);
    assert.equal(block.miner, someone);
    assert.equal(block.baseFeePerGas, parseGwei("20"));
  },
  async setMinGasPrice() {
    // With a base fee there is no least price: both nodes refuse, and say that.
    await assert.rejects(dev.setMinGasPrice({ gasPrice: parseGwei("20") }), /EIP-1559/);
  },
  async sendUnsignedTransaction() {
    const from = "0x00000000000000000000000000000000000000cc";
    await dev.setBalance({ address: from, value: parseEther("3") });
    const { from: sender } = await mined(await dev.sendUnsignedTransaction({ from, to: second, value: 1n }));
    assert.equal(sender, from);
  },
  // What is not there says so.
  async notSupported() {
    await dev.setLoggingEnabled(false);
    const notSupported = (error) => error.walk((cause) => cause.code === -32004) && /not supported/.test(error.message);
    await assert.rejects(dev.setLoggingEnabled(true), notSupported);
    if (mode === "hardhat") return;
    await assert.rejects(dev.setBlockTimestampInterval({ interval: 5 }), notSupported);
    await assert.rejects(dev.removeBlockTimestampInterval(), notSupported);
    await assert.rejects(dev.dumpState(), notSupported);
    await assert.rejects(dev.loadState({ state: "0x" }), notSupported);
  },
  async reset() {
    await mined(await wallet.sendTransaction({ to: second, value: 1n }));
    // Without another network to fork, which is what the client itself asks for.
    await dev.request({ method: `${mode}_reset` });
    assert.equal(await reader.getBlockNumber(), 0n);
    assert.equal(await reader.getBalance({ address: first }), parseEther("10000"));
  },
};

// What Hardhat's node does not have.
const anvils = ["automine", "inspectTxpool", "sendUnsignedTransaction"];
const failures = [];
for (const [name, action] of Object.entries(actions)) {
  if (mode === "hardhat" && anvils.includes(name)) continue;
  await action().catch((error) => failures.push(`${name}: ${error.stack}`));
}
assert.equal(failures.join("\n"), "");
